import type { Engine } from '../engine.js';
import { isOnHost } from '../ops/layout.js';
import { scatterRows } from '../ops/scatter-rows.js';
import type { TfTensor } from '../tf.js';
import { tensorFlowOps } from './tensorflow-ops.js';

/**
 * Rows of x [N, D] at numbers i32 [M, 1], all of them in range: [M, D]. tf.gather checks each number in JavaScript (14 ms
 * against 3 per 50 MB on tfjs-node, 27 us against 3 per query of 16 keys on wasm), and the cpu engine's ops work element
 * by element (137 us), where copying rows takes 1.
 */
export function rowsAt({ tf, name }: Engine, x: TfTensor, numbers: TfTensor): TfTensor {
  if (name !== 'cpu') return tf.gatherND(x, numbers);
  const width = x.shape[1] as number;
  const from = x.dataSync<'float32'>();
  const at = numbers.dataSync<'int32'>();
  const rows = new Float32Array(at.length * width);
  for (let row = 0; row < at.length; row++) {
    const first = (at[row] as number) * width;
    rows.set(from.subarray(first, first + width), row * width);
  }
  return tf.tensor(rows, [at.length, width]);
}

/** Adds up rows for the keys that kept them. */
export interface KeySums {
  /** weights [R, k] times rows [R, 1, D], summed by row number: [count, D]. */
  sumByKey(weights: TfTensor, rows: TfTensor): TfTensor;
}

/**
 * Sums over the slots of a tile by their row numbers, given as i32 [R * k, 1] and as an array. TensorFlow has a product
 * with a sparse matrix, which writes no array of all weighted rows (6 ms against 10 for 1,024 rows of 64 slots); elsewhere
 * that array is scattered.
 */
export function sumsByKey(
  engine: Engine,
  at: TfTensor,
  numbers: Int32Array,
  k: number,
  count: number,
): KeySums {
  const { tf } = engine;
  const ops = tensorFlowOps(tf);
  const slots = numbers.length;
  if (ops === undefined) {
    return {
      sumByKey: (weights, rows) =>
        tf.tidy(() => {
          const products = outerProducts(engine, weights, rows);
          if (isOnHost(engine)) return scatterRows(engine, numbers, products, count);
          return tf.scatterND(at, products, [count, rows.shape[2] as number]);
        }),
    };
  }
  const pairs = new Int32Array(2 * slots);
  for (let slot = 0; slot < slots; slot++) {
    pairs[2 * slot] = numbers[slot] as number;
    pairs[2 * slot + 1] = Math.floor(slot / k);
  }
  const places = tf.tensor(pairs, [slots, 2], 'int32');
  return {
    sumByKey: (weights, rows) => {
      const flat = tf.reshape(rows, [rows.shape[0] as number, rows.shape[2] as number]);
      return ops.sumOfRows(places, tf.reshape(weights, [slots]), count, flat);
    },
  };
}

/**
 * weights [R, k] times rows [R, 1, D]: [R * k, D]. As a product of matrices on the cpu engine, whose broadcasting is
 * slower (92 us against 14 per query of 16 keys); elsewhere it is the faster or not the slower of the two.
 */
function outerProducts({ tf, name }: Engine, weights: TfTensor, rows: TfTensor): TfTensor {
  const [count = 0, k = 0] = weights.shape;
  const column = tf.reshape(weights, [count, k, 1]);
  const width = rows.shape[2] as number;
  return tf.tidy(() =>
    tf.reshape(name === 'cpu' ? tf.matMul(column, rows) : tf.mul(column, rows), [count * k, width]),
  );
}
