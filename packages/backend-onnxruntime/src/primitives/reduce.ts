import { sizeOf } from '@topk-attention/core';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import type { GraphBuilder } from '../onnx/graph-builder.js';
import { emitSum } from './long-sum.js';

const smallestInteger = -(2 ** 31);

/** Integers wrap in whatever order they are added; floats are added in stages where there are many. */
export function sum(graph: Graph, x: OnnxNode, axes: readonly number[]): OnnxNode {
  return reduce(graph, 'ReduceSum', x, axes, 0, (onnx, name) =>
    x.dtype === 'i32' ? emitReduce(onnx, 'ReduceSum', name, axes) : emitSum(onnx, name, x.shape, axes),
  );
}

export function max(graph: Graph, x: OnnxNode, axes: readonly number[]): OnnxNode {
  const ofNothing = x.dtype === 'i32' ? smallestInteger : Number.NEGATIVE_INFINITY;
  return reduce(graph, 'ReduceMax', x, axes, ofNothing, (onnx, name) =>
    emitReduce(onnx, 'ReduceMax', name, axes),
  );
}

function reduce(
  graph: Graph,
  op: string,
  x: OnnxNode,
  axes: readonly number[],
  ofNothing: number,
  emit: (onnx: GraphBuilder, x: string) => string,
): OnnxNode {
  const shape = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
  if (sizeOf(x.shape) === 0) return graph.constant(ofNothing, shape, x.dtype);
  return graph.add(
    { key: `${op}[${axes}]`, inputs: [x], emit: (onnx, [a]) => [emit(onnx, a as string)] },
    { shape, dtype: x.dtype },
  );
}

function emitReduce(onnx: GraphBuilder, op: string, x: string, axes: readonly number[]): string {
  return onnx.op(op, [x, onnx.i64(axes)], { keepdims: 1 });
}

export function softmax(graph: Graph, x: OnnxNode): OnnxNode {
  return graph.add(
    { key: 'softmax', inputs: [x], emit: (onnx, [rows]) => [emitSoftmax(onnx, rows as string)] },
    x,
  );
}

/** Softmax of the last axis. The engine gives NaN for a row of all -inf, and may lose a NaN in the row's maximum. */
export function emitSoftmax(onnx: GraphBuilder, rows: string): string {
  const minusInfinity = onnx.f32(Number.NEGATIVE_INFINITY);
  const largest = onnx.op('ReduceMax', [rows, onnx.i64([-1])], { keepdims: 1 });
  const isEmpty = onnx.op('Equal', [largest, minusInfinity]);
  // x * 0 is NaN for NaN and infinities and 0 otherwise; -inf is an ordinary "no".
  const present = onnx.op('Where', [onnx.op('Equal', [rows, minusInfinity]), onnx.f32(0), rows]);
  const products = onnx.op('Mul', [present, onnx.f32(0)]);
  const poison = onnx.op('ReduceSum', [products, onnx.i64([-1])], { keepdims: 1 });
  const weights = onnx.op('Softmax', [rows], { axis: -1 });
  return onnx.op('Add', [onnx.op('Where', [isEmpty, onnx.f32(0), weights]), poison]);
}
