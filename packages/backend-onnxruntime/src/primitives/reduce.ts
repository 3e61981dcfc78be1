import { sizeOf } from '@topk-attention/core';
import { emitSum } from '../emit/long-sum.js';
import { emitSoftmax } from '../emit/softmax.js';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import type { GraphBuilder } from '../onnx/graph-builder.js';

const smallestInteger = -(2 ** 31);

/** Integers wrap, so their order does not matter; many floats are summed in stages. */
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
