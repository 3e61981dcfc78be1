import { sizeOf } from '@topk-attention/core';
import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { withFlag } from './flags.js';
import { broadcastTo } from './layout.js';
import { isLong, longProduct } from './long-product.js';
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

/** Engines that add up the terms of an element of a product in one f32, or in one for every few of them. */
const addInARow: ReadonlySet<string> = new Set(['cpu', 'wasm', 'webgl', 'webgpu']);

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
  if (!isLong(rows, inner, columns) || !addInARow.has(engine.name)) {
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
  const { tf, name } = engine;
  if (name === 'wasm') return wasmProduct(engine, a, b, transposeA, transposeB);
  if (name !== 'webgpu') return tf.matMul(a, b, transposeA, transposeB);
  const [rows, inner] = ends(a, transposeA);
  const [, columns] = ends(b, transposeB);
  const batch = a.size / (rows * inner);
  const tiles = batch * Math.ceil(rows / 32) * Math.ceil(columns / 32);
  if (tiles <= FEW_TILES && batch * rows * columns <= TINY_OUTPUT) {
    return tf.matMul(a, b, transposeA, transposeB);
  }
  const tile = rows === 1 && !transposeA && columns % 4 !== 0 ? VECTOR_INNER_TILE : INNER_TILE;
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

// What tfjs-webgpu 4.22 chooses its programs by. An output of no more than so many elements and tiles has a program of
// its own, without tiles.
const TINY_OUTPUT = 128;
const FEW_TILES = 8;
/** From this inner extent on, few tiles are added up by atomics, in whatever order they come. */
const SPLIT_FROM = 2000;
/** The program for few tiles that adds in a fixed order. */
const SMALL_OUTPUT_PROGRAM = 2;
/** The inner extent of the tiles of every other program, or twice that. */
const INNER_TILE = 32;
/** That of the program for vectors times matrices whose rows are not whole groups of four. */
const VECTOR_INNER_TILE = 128;

/**
 * x with zeros along the inner axis up to a whole tile. The tiled programs read the second matrix beyond its end, which
 * is the next of the batch, and rely on zeros of the first: a NaN or an infinity there spoils columns it is not in.
 */
function padded({ tf }: Engine, x: TfTensor, axis: number, tile: number): TfTensor {
  const rest = (x.shape[axis] ?? 0) % tile;
  if (rest === 0) return x;
  const shape = x.shape.map((extent, a) => (a === axis ? tile - rest : extent));
  return tf.concat([x, tf.zeros(shape)], axis);
}

/** Rows and columns of the matrices as the product sees them. */
function ends(x: TfTensor, transposed: boolean): readonly [number, number] {
  const [rows = 1, columns = 1] = x.shape.slice(-2);
  return transposed ? [columns, rows] : [rows, columns];
}
