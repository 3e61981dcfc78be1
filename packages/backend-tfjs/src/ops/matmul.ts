import { sizeOf } from '@topk-attention/core';
import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { withFlag } from './flags.js';
import { broadcastTo } from './layout.js';
import { isLong, longProduct } from './long-product.js';
import { wasmMatrices } from './wasm/matrices.js';
import { wasmProduct } from './wasm/product.js';

/**
 * [..., M, K] x [..., K, N] with equal batch dims, or one operand of rank 2. Batches are folded into one axis or, where
 * the second operand has none, into rows: tf.matMul gives wrong sums when it broadcasts several batch axes.
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

/**
 * Product of two matrices by a single op of tf, so that tf's tape has its gradient. Use it instead of tf.matMul, which
 * on the wasm engine may multiply by what it packed of the same data in another shape.
 */
export function matrixProduct({ tf, traits }: Engine, a: TfTensor, b: TfTensor): TfTensor {
  return traits.product === 'xnnpack' ? wasmMatrices(tf, a, b) : tf.matMul(a, b);
}

/** tf.matMul of two matrices, or of batches of them, with equal bits for equal inputs. */
function product(
  engine: Engine,
  a: TfTensor,
  b: TfTensor,
  transposeA: boolean,
  transposeB: boolean,
): TfTensor {
  const [rows, inner] = ends(a, transposeA);
  const [, columns] = ends(b, transposeB);
  if (!isLong(rows, inner, columns) || !engine.traits.multipliesInARow) {
    return shortProduct(engine, a, b, transposeA, transposeB);
  }
  return longProduct(engine, a, b, transposeA, transposeB, (x, y, tx, ty) =>
    shortProduct(engine, x, y, tx, ty),
  );
}

function shortProduct(
  engine: Engine,
  a: TfTensor,
  b: TfTensor,
  transposeA: boolean,
  transposeB: boolean,
): TfTensor {
  const { product } = engine.traits;
  if (product === 'xnnpack') return wasmProduct(engine, a, b, transposeA, transposeB);
  if (product === 'padded') return paddedProduct(engine, a, b, transposeA, transposeB);
  return engine.tf.matMul(a, b, transposeA, transposeB);
}

/** tf.matMul on the webgpu engine, kept to programs that add in a fixed order and read nothing beyond the matrices. */
function paddedProduct(
  engine: Engine,
  a: TfTensor,
  b: TfTensor,
  transposeA: boolean,
  transposeB: boolean,
): TfTensor {
  const { tf } = engine;
  const [rows, inner] = ends(a, transposeA);
  const [, columns] = ends(b, transposeB);
  const batch = a.size / (rows * inner);
  const tiles = batch * Math.ceil(rows / 32) * Math.ceil(columns / 32);
  if (tiles <= FEW_TILES && batch * rows * columns <= TINY_OUTPUT) {
    return tf.matMul(a, b, transposeA, transposeB);
  }
  const isVector = rows === 1 && !transposeA && (transposeB || columns % 4 !== 0);
  const tile = isVector ? VECTOR_INNER_TILE : INNER_TILE;
  return tf.tidy(() => {
    const run = (): TfTensor =>
      tf.matMul(
        padded(engine, a, a.rank - (transposeA ? 2 : 1), tile),
        padded(engine, b, b.rank - (transposeB ? 1 : 2), tile),
        transposeA,
        transposeB,
      );
    return batch === 1 && inner >= SPLIT_FROM && tiles <= 4 * FEW_TILES
      ? withFlag(engine, 'WEBGPU_MATMUL_PROGRAM_TYPE', SMALL_OUTPUT_PROGRAM, run)
      : run();
  });
}

// How tfjs-webgpu 4.22 chooses its programs. An output of at most this many elements and tiles has a program without
// tiles.
const TINY_OUTPUT = 128;
const FEW_TILES = 8;
/** From this inner extent on, few tiles are added up by atomics, in any order. */
const SPLIT_FROM = 2000;
/** The program for few tiles that adds in a fixed order. */
const SMALL_OUTPUT_PROGRAM = 2;
/** The tiles of all other programs have this inner extent or half of it. */
const INNER_TILE = 32;
/** Inner extent in the program for a vector times a matrix that is transposed, or has a row length of no multiple of four. */
const VECTOR_INNER_TILE = 128;

/**
 * x with zeros along the inner axis up to a whole tile. The tiled programs read the second matrix beyond its end, into
 * the next of the batch, and rely on zeros in the first: a NaN or an infinity there would spoil columns it is not in.
 */
function padded({ tf }: Engine, x: TfTensor, axis: number, tile: number): TfTensor {
  const rest = (x.shape[axis] ?? 0) % tile;
  if (rest === 0) return x;
  const shape = x.shape.map((extent, a) => (a === axis ? tile - rest : extent));
  return tf.concat([x, tf.zeros(shape)], axis);
}

/** Rows and columns of x, after its transposition if any. */
function ends(x: TfTensor, transposed: boolean): readonly [number, number] {
  const [rows = 1, columns = 1] = x.shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}
