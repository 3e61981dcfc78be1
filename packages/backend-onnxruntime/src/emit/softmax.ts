import type { GraphBuilder } from '../onnx/graph-builder.js';

/** Softmax of the last axis. The engine gives NaN for a row of all -inf, and may lose a NaN in the row's maximum. */
export function emitSoftmax(onnx: GraphBuilder, rows: string): string {
  const minusInfinity = onnx.f32(Number.NEGATIVE_INFINITY);
  const largest = onnx.op('ReduceMax', [rows, onnx.i64([-1])], { keepdims: 1 });
  const isEmpty = onnx.op('Equal', [largest, minusInfinity]);
  // x * 0 is NaN for NaN and infinities and 0 otherwise; -inf only means "no".
  const present = onnx.op('Where', [onnx.op('Equal', [rows, minusInfinity]), onnx.f32(0), rows]);
  const products = onnx.op('Mul', [present, onnx.f32(0)]);
  const poison = onnx.op('ReduceSum', [products, onnx.i64([-1])], { keepdims: 1 });
  const weights = onnx.op('Softmax', [rows], { axis: -1 });
  return onnx.op('Add', [onnx.op('Where', [isEmpty, onnx.f32(0), weights]), poison]);
}
