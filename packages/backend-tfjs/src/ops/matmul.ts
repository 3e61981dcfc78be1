import { sizeOf } from '@topk-attention/core';
import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { withFlag } from './flags.js';
import { broadcastTo } from './layout.js';
import { wasmProduct } from './wasm-product.js';

/**
 * [..., M, K] x [..., K, N] with equal batch dims, or one operand of rank 2. Batches are folded into one axis, and where
 * the second operand has none, into rows: tf's own broadcasting of several batch axes gives wrong sums.
 */
export function matmul(
  engine: Engine,
  a: TfTensor,
  b: TfTensor,
  transposeA: boolean,
  transposeB: boolean,
): TfTensor {
  const { tf } = engine;
  const [rows, inner] = ends(a, transposeA);
  const [, columns] = ends(b, transposeB);
  const batchShape = (a.rank >= b.rank ? a : b).shape.slice(0, -2);
  const batch = sizeOf(batchShape);
  const shape = [...batchShape, rows, columns];
  if (batch * rows * columns * inner === 0) return tf.zeros(shape);
  return tf.tidy(() => {
    if (batchShape.length === 0) return product(engine, a, b, transposeA, transposeB);
    if (b.rank === 2 && !transposeA) {
      const folded = tf.reshape(a, [batch * rows, inner]);
      return tf.reshape(product(engine, folded, b, false, transposeB), shape);
    }
    const one = (x: TfTensor): TfTensor => {
      const last = x.shape.slice(-2);
      return x.rank === 2 ? broadcastTo(engine, x, [batch, ...last]) : tf.reshape(x, [batch, ...last]);
    };
    return tf.reshape(product(engine, one(a), one(b), transposeA, transposeB), shape);
  });
}

/** Of tfjs's programs for WebGPU, the one for outputs too small to occupy a GPU that adds in a fixed order. */
const SMALL_OUTPUT_PROGRAM = 2;
/** From this inner extent on tfjs takes another, which adds parts of the sum in whatever order they come. */
const SPLIT_FROM = 2000;

/** tf.matMul, with equal bits for equal inputs. */
function product(
  engine: Engine,
  a: TfTensor,
  b: TfTensor,
  transposeA: boolean,
  transposeB: boolean,
): TfTensor {
  const { tf, name } = engine;
  if (name === 'wasm') return wasmProduct(engine, a, b, transposeA, transposeB);
  const run = (): TfTensor => tf.matMul(a, b, transposeA, transposeB);
  const [rows, inner] = ends(a, transposeA);
  const [, columns] = ends(b, transposeB);
  const isSplit = name === 'webgpu' && inner >= SPLIT_FROM && a.size === rows * inner && rows * columns > 128;
  const hasFewTiles = Math.ceil(rows / 32) * Math.ceil(columns / 32) <= 32;
  return isSplit && hasFewTiles
    ? withFlag(engine, 'WEBGPU_MATMUL_PROGRAM_TYPE', SMALL_OUTPUT_PROGRAM, run)
    : run();
}

/** Rows and columns of the matrices as the product sees them. */
function ends(x: TfTensor, transposed: boolean): readonly [number, number] {
  const [rows = 1, columns = 1] = x.shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}
