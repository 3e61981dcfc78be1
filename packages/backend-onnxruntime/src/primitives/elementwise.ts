import type { DType } from '@topk-attention/core';
import { type BinaryOp, broadcastShapes, type CompareOp, type UnaryOp } from '@topk-attention/core/backend';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import type { GraphBuilder } from '../onnx/graph-builder.js';

const unaryNames: { readonly [op in UnaryOp]: string } = {
  neg: 'Neg',
  abs: 'Abs',
  exp: 'Exp',
  log: 'Log',
  sqrt: 'Sqrt',
  rsqrt: 'Sqrt',
  tanh: 'Tanh',
  erf: 'Erf',
  sigmoid: 'Sigmoid',
};

export function unary(graph: Graph, op: UnaryOp, x: OnnxNode): OnnxNode {
  return graph.add(
    {
      key: op,
      inputs: [x],
      emit: (onnx, [a]) => {
        const result = onnx.op(unaryNames[op], [a as string]);
        return [op === 'rsqrt' ? onnx.op('Reciprocal', [result]) : result];
      },
    },
    x,
  );
}

const binaryNames: { readonly [op in BinaryOp]: string } = {
  add: 'Add',
  sub: 'Sub',
  mul: 'Mul',
  div: 'Div',
  min: 'Min',
  max: 'Max',
};

export function binary(graph: Graph, op: BinaryOp, a: OnnxNode, b: OnnxNode): OnnxNode {
  const isIntegerDivision = op === 'div' && a.dtype === 'i32';
  return graph.add(
    {
      key: isIntegerDivision ? 'div.i32' : op,
      inputs: [a, b],
      emit: (onnx, [x, y]) => [
        isIntegerDivision
          ? divideIntegers(onnx, x as string, y as string)
          : onnx.op(binaryNames[op], [x as string, y as string]),
      ],
    },
    { shape: broadcastShapes(op, a.shape, b.shape), dtype: a.dtype },
  );
}

/** The engine divides with the CPU's instruction, which traps on x / 0 and on -2^31 / -1: both would end the process. */
function divideIntegers(onnx: GraphBuilder, a: string, b: string): string {
  const isZero = onnx.op('Equal', [b, onnx.i32(0)]);
  const divisor = onnx.op('Where', [isZero, onnx.i32(1), b]);
  return onnx.cast(onnx.op('Div', [onnx.cast(a, 'i64'), onnx.cast(divisor, 'i64')]), 'i32');
}

const compareNames: { readonly [op in CompareOp]: string } = { eq: 'Equal', lt: 'Less', le: 'LessOrEqual' };

export function compare(graph: Graph, op: CompareOp, a: OnnxNode, b: OnnxNode): OnnxNode {
  // Order is not defined for bool in ONNX.
  const widen = a.dtype === 'bool' && op !== 'eq';
  return graph.add(
    {
      key: widen ? `${op}.bool` : op,
      inputs: [a, b],
      emit: (onnx, names) => [
        onnx.op(compareNames[op], widen ? names.map((name) => onnx.cast(name, 'i32')) : names),
      ],
    },
    { shape: broadcastShapes(op, a.shape, b.shape), dtype: 'bool' },
  );
}

export function testNaN(graph: Graph, x: OnnxNode): OnnxNode {
  const { shape } = x;
  if (x.dtype !== 'f32' && x.dtype !== 'f16') return graph.constant(0, shape, 'bool');
  return graph.add(
    { key: 'isNaN', inputs: [x], emit: (onnx, [a]) => [onnx.op('IsNaN', [a as string])] },
    { shape, dtype: 'bool' },
  );
}

export function logicalAnd(graph: Graph, a: OnnxNode, b: OnnxNode): OnnxNode {
  return graph.add(
    { key: 'and', inputs: [a, b], emit: (onnx, names) => [onnx.op('And', names)] },
    { shape: broadcastShapes('logicalAnd', a.shape, b.shape), dtype: 'bool' },
  );
}

export function logicalNot(graph: Graph, x: OnnxNode): OnnxNode {
  return graph.add({ key: 'not', inputs: [x], emit: (onnx, names) => [onnx.op('Not', names)] }, x);
}

export function where(graph: Graph, condition: OnnxNode, a: OnnxNode, b: OnnxNode): OnnxNode {
  const isBool = a.dtype === 'bool';
  return graph.add(
    {
      key: isBool ? 'where.bool' : 'where',
      inputs: [condition, a, b],
      emit: (onnx, names) => {
        if (!isBool) return [onnx.op('Where', names)];
        // The engine has no Where kernel for bool.
        const [c, x, y] = names as [string, string, string];
        const rest = onnx.op('And', [onnx.op('Not', [c]), y]);
        return [onnx.op('Or', [onnx.op('And', [c, x]), rest])];
      },
    },
    { shape: broadcastShapes('where', condition.shape, a.shape, b.shape), dtype: a.dtype },
  );
}

export function cast(graph: Graph, x: OnnxNode, dtype: DType): OnnxNode {
  return graph.add(
    { key: `cast.${dtype}`, inputs: [x], emit: (onnx, [a]) => [onnx.cast(a as string, dtype)] },
    { shape: x.shape, dtype },
  );
}
