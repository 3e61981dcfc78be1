import { sizeOf } from '@topk-attention/core';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';

/** The engine's own FusedMatMul reads transposed operands in place; a Transpose node would copy them. */
export function matmul(
  graph: Graph,
  a: OnnxNode,
  b: OnnxNode,
  transposeA: boolean,
  transposeB: boolean,
): OnnxNode {
  const batch = a.shape.length === 2 ? b.shape.slice(0, -2) : a.shape.slice(0, -2);
  const rows = a.shape.at(transposeA ? -1 : -2) as number;
  const columns = b.shape.at(transposeB ? -2 : -1) as number;
  const shape = [...batch, rows, columns];
  if (sizeOf(a.shape) === 0 || sizeOf(b.shape) === 0) return graph.constant(0, shape, a.dtype);
  const isPlain = !transposeA && !transposeB;
  return graph.add(
    {
      key: `matmul${transposeA ? 'T' : 'N'}${transposeB ? 'T' : 'N'}`,
      inputs: [a, b],
      emit: (onnx, names) => [
        isPlain
          ? onnx.op('MatMul', names)
          : onnx.op(
              'FusedMatMul',
              names,
              { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 },
              'com.microsoft',
            ),
      ],
    },
    { shape, dtype: a.dtype },
  );
}
