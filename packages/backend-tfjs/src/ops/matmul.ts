import { sizeOf } from '@topk-attention/core';
import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { broadcastTo } from './layout.js';

/**
 * [..., M, K] x [..., K, N] with equal batch dims, or one operand of rank 2. Batches are folded into one axis, and where
 * the second operand has none, into rows: tf's own broadcasting of several batch axes gives wrong sums.
 */
export function matmul(
  { tf, ...rest }: Engine,
  a: TfTensor,
  b: TfTensor,
  transposeA: boolean,
  transposeB: boolean,
): TfTensor {
  const engine = { tf, ...rest };
  const [rows, inner] = ends(a, transposeA);
  const [, columns] = ends(b, transposeB);
  const batchShape = (a.rank >= b.rank ? a : b).shape.slice(0, -2);
  const batch = sizeOf(batchShape);
  const shape = [...batchShape, rows, columns];
  if (batch * rows * columns * inner === 0) return tf.zeros(shape);
  return tf.tidy(() => {
    if (batchShape.length === 0) return tf.matMul(a, b, transposeA, transposeB);
    if (b.rank === 2 && !transposeA) {
      const folded = tf.reshape(a, [batch * rows, inner]);
      return tf.reshape(tf.matMul(folded, b, false, transposeB), shape);
    }
    const one = (x: TfTensor): TfTensor => {
      const last = x.shape.slice(-2);
      return x.rank === 2 ? broadcastTo(engine, x, [batch, ...last]) : tf.reshape(x, [batch, ...last]);
    };
    return tf.reshape(tf.matMul(one(a), one(b), transposeA, transposeB), shape);
  });
}

/** Rows and columns of the matrices as the product sees them. */
function ends(x: TfTensor, transposed: boolean): readonly [number, number] {
  const [rows = 1, columns = 1] = x.shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}
