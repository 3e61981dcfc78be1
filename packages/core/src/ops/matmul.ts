import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { formatShape, type Shape, sameShape, sizeOf } from '../contract/shape.js';
import { apply } from '../tensor/apply.js';
import type { Operations } from '../tensor/operations.js';
import { aBoolean, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Saved } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';
import { reshape } from './layout.js';

export interface MatmulOptions {
  /** Use a with its last two axes swapped. Default false. */
  readonly transposeA?: boolean;
  readonly transposeB?: boolean;
}

const matmulKinds: OptionKinds<MatmulOptions> = { transposeA: aBoolean, transposeB: aBoolean };

/**
 * [..., M, K] x [..., K, N] -> [..., M, N]. Batch dims are equal, or one operand has rank 2; they never broadcast.
 * Sums in f32 whatever the dtype.
 */
export function matmul(a: Tensor, b: Tensor, options?: MatmulOptions): Tensor {
  const { transposeA = false, transposeB = false } = readOptions('matmul', options, matmulKinds);
  requireTensor('matmul', 'a', a);
  requireTensor('matmul', 'b', b);
  const shape = productShape(a, b, transposeA, transposeB);
  if (a.rank > 2 && b.rank === 2 && !transposeA) {
    // A matrix shared across the batch: one long product, and a gradient without a batch of partial sums.
    const rows = sizeOf(a.shape.slice(0, -1));
    return scope(() => reshape(matmul(reshape(a, [rows, a.shape.at(-1) as number]), b, options), shape));
  }
  const [y] = apply(
    'matmul',
    [a, b],
    [{ shape, dtype: a.dtype }],
    (backend, x, z) => [backend.matmul(x, z, transposeA, transposeB)],
    {
      save: (_outputs, [ofA, ofB]) => [ofB ? a : undefined, ofA ? b : undefined],
      backward: (ops, [g], saved) =>
        matmulGradients(ops, g as Tensor, saved, [a.shape, b.shape], transposeA, transposeB),
    },
  );
  return y as Tensor;
}

/**
 * dA = G B^T and dB = A^T G, each transposed if its operand was; a rank-2 operand's gradient sums over the batch. Those of
 * which the other operand was saved.
 */
function matmulGradients(
  ops: Operations,
  g: Tensor,
  [a, b]: Saved,
  [shapeA, shapeB]: readonly [Shape, Shape],
  tA: boolean,
  tB: boolean,
): readonly (Tensor | undefined)[] {
  const left = (z: Tensor): Tensor =>
    tA ? ops.matmul(z, g, { transposeA: tB, transposeB: true }) : ops.matmul(g, z, { transposeB: !tB });
  const right = (x: Tensor): Tensor =>
    tB ? ops.matmul(g, x, { transposeA: true, transposeB: tA }) : ops.matmul(x, g, { transposeA: !tA });
  return scope(() => [b && ops.sumTo(left(b), shapeA), a && ops.sumTo(right(a), shapeB)]);
}

function productShape(a: Tensor, b: Tensor, tA: boolean, tB: boolean): Shape {
  const describe = `${formatShape(a.shape)}${tA ? '^T' : ''} x ${formatShape(b.shape)}${tB ? '^T' : ''}`;
  if (a.rank < 2 || b.rank < 2) {
    throw new TopKError('RANK_MISMATCH', 'matmul: operands need rank 2 or more', { got: describe });
  }
  if (a.dtype !== b.dtype || !isFloat(a.dtype)) {
    throw new TopKError('DTYPE_MISMATCH', 'matmul: wrong dtypes', {
      expected: 'equal float dtypes',
      got: `${a.dtype} and ${b.dtype}`,
    });
  }
  const batchA = a.shape.slice(0, -2);
  const batchB = b.shape.slice(0, -2);
  const [rows, innerA] = lastTwo(a.shape, tA);
  const [innerB, columns] = lastTwo(b.shape, tB);
  if (innerA !== innerB || !(a.rank === 2 || b.rank === 2 || sameShape(batchA, batchB))) {
    throw new TopKError('SHAPE_MISMATCH', 'matmul: incompatible shapes', {
      expected: '[..., M, K] x [..., K, N] with equal batch dims, or one operand of rank 2',
      got: describe,
    });
  }
  return [...(a.rank === 2 ? batchB : batchA), rows, columns];
}

function lastTwo(shape: Shape, swapped: boolean): [number, number] {
  const rows = shape.at(-2) as number;
  const columns = shape.at(-1) as number;
  return swapped ? [columns, rows] : [rows, columns];
}
