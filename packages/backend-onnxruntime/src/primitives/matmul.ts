import { type Shape, sizeOf } from '@topk-attention/core';
import { blockOf, emitSum } from '../emit/long-sum.js';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import { CONTRIB } from '../onnx/contrib.js';
import type { GraphBuilder } from '../onnx/graph-builder.js';

/**
 * Inner extents up to which the engine sums equal terms to within about 1e-5. Its general product sums panels; its product
 * with a single row or column has one accumulator.
 */
const LONGEST_INNER = 65536;
const LONGEST_INNER_OF_VECTORS = 2048;
/** Inner extent of each partial product of a longer one. */
const BLOCK = 512;

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
  const inner = a.shape.at(transposeA ? -2 : -1) as number;
  const columns = b.shape.at(transposeB ? -2 : -1) as number;
  const shape = [...batch, rows, columns];
  if (sizeOf(a.shape) === 0 || sizeOf(b.shape) === 0) return graph.constant(0, shape, a.dtype);
  const isVector = rows === 1 || columns === 1;
  const isLong = a.dtype !== 'i32' && inner > (isVector ? LONGEST_INNER_OF_VECTORS : LONGEST_INNER);
  return graph.add(
    {
      key: `matmul${transposeA ? 'T' : 'N'}${transposeB ? 'T' : 'N'}`,
      inputs: [a, b],
      emit: (onnx, [left, right]) => [
        isLong
          ? emitLong(
              onnx,
              { name: left as string, shape: a.shape, isInnerLast: !transposeA },
              { name: right as string, shape: b.shape, isInnerLast: transposeB },
              inner,
              shape,
            )
          : emitProduct(onnx, left as string, right as string, transposeA, transposeB),
      ],
    },
    { shape, dtype: a.dtype },
  );
}

function emitProduct(
  onnx: GraphBuilder,
  a: string,
  b: string,
  transposeA: boolean,
  transposeB: boolean,
): string {
  if (!transposeA && !transposeB) return onnx.op('MatMul', [a, b]);
  const attributes = { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 };
  return onnx.op('FusedMatMul', [a, b], attributes, CONTRIB.domain);
}

interface Operand {
  readonly name: string;
  readonly shape: Shape;
  readonly isInnerLast: boolean;
}

/** The sum of the products of blocks of the inner extent, and of the rest. */
function emitLong(onnx: GraphBuilder, a: Operand, b: Operand, inner: number, shape: Shape): string {
  const block = blockOf(inner, BLOCK);
  const whole = inner - (inner % block);
  const blocks = whole / block;
  const products = emitProduct(
    onnx,
    emitBlocks(onnx, emitPart(onnx, a, inner, 0, whole), blocks, block),
    emitBlocks(onnx, emitPart(onnx, b, inner, 0, whole), blocks, block),
    !a.isInnerLast,
    b.isInnerLast,
  );
  const [rows, columns] = shape.slice(-2) as [number, number];
  const batch = shape.slice(0, -2);
  const sums = emitSum(onnx, products, [...batch, blocks, rows, columns], [batch.length]);
  const sum = onnx.reshape(sums, shape);
  if (whole === inner) return sum;
  const rest = [a, b].map((one) => emitPart(onnx, one, inner, whole, inner).name) as [string, string];
  return onnx.op('Add', [sum, emitProduct(onnx, ...rest, !a.isInnerLast, b.isInnerLast)]);
}

/** Inner entries from `from` to `to`. */
function emitPart(onnx: GraphBuilder, operand: Operand, inner: number, from: number, to: number): Operand {
  if (to - from === inner) return operand;
  const axis = operand.shape.length - (operand.isInnerLast ? 1 : 2);
  const name = onnx.op('Slice', [operand.name, onnx.i64([from]), onnx.i64([to]), onnx.i64([axis])]);
  return { ...operand, name, shape: operand.shape.map((extent, at) => (at === axis ? to - from : extent)) };
}

/** [..., blocks, its two axes], the inner one of them `block` long. */
function emitBlocks(
  onnx: GraphBuilder,
  { name, shape, isInnerLast }: Operand,
  blocks: number,
  block: number,
): string {
  const batch = shape.slice(0, -2);
  const outer = shape.at(isInnerLast ? -2 : -1) as number;
  if (!isInnerLast) return onnx.reshape(name, [...batch, blocks, block, outer]);
  if (outer === 1) return onnx.reshape(name, [...batch, blocks, 1, block]);
  const cut = onnx.reshape(name, [...batch, outer, blocks, block]);
  const axes = batch.map((_, axis) => axis);
  const perm = [...axes, batch.length + 1, batch.length, batch.length + 2];
  return onnx.op('Transpose', [cut], { perm });
}
