import type { Engine } from '../../engine/engine.js';
import { scatterRows } from '../../ops/scatter-rows.js';
import { tensorFlowOps } from '../../ops/tensorflow-ops.js';
import type { TfTensor } from '../../tf.js';

/**
 * Rows of x [N, D] at row numbers i32 [M, 1], all in range: [M, D]. Avoids tf.gather, which checks each number in
 * JavaScript: 14 ms per 50 MB on tfjs-node against 3 with gatherND, 27 us per query of 16 keys on wasm against 3. On
 * the cpu engine, those ops take 137 us, a loop that copies rows 1.
 */
export function rowsAt({ tf, traits }: Engine, x: TfTensor, numbers: TfTensor): TfTensor {
  if (traits.gather !== 'loop') return tf.gatherND(x, numbers);
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

/** The slots of a tile, k per row, and the rows of sums they belong to. */
export interface Slots {
  /** Row numbers, i32 [R * k, 1]. */
  readonly at: TfTensor;
  /** The same as an array. */
  readonly numbers: Int32Array;
  /** Keys, -1 in unused slots, whose sums nobody reads. */
  readonly keys: Int32Array;
  readonly k: number;
  /** Rows of sums. */
  readonly count: number;
}

/** Sums of rows for the keys that kept them. */
export interface KeySums {
  /** weights [R, k] times rows [R, 1, D], summed by row number: [count, D]. */
  sumByKey(weights: TfTensor, rows: TfTensor): TfTensor;
}

/**
 * Sums over the slots of a tile. TensorFlow has a sparse matrix product, which needs no array of all weighted rows
 * (6 ms against 10 for 1,024 rows of 64 slots); elsewhere that array is scattered.
 */
export function sumsByKey(engine: Engine, { at, numbers, keys, k, count }: Slots): KeySums {
  const { tf, traits } = engine;
  const ops = tensorFlowOps(engine);
  const slots = numbers.length;
  if (ops === undefined) {
    // Unused slots share a few rows of sums, which must not force the slow path on all others.
    const used = numbers.filter((_, slot) => (keys[slot] as number) >= 0);
    return {
      sumByKey: (weights, rows) =>
        tf.tidy(() => {
          const products = outerProducts(engine, weights, rows);
          if (traits.isOnHost) return scatterRows(engine, numbers, products, count, used);
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

/** weights [R, k] times rows [R, 1, D]: [R * k, D]. */
function outerProducts({ tf, traits }: Engine, weights: TfTensor, rows: TfTensor): TfTensor {
  const [count = 0, k = 0] = weights.shape;
  const column = tf.reshape(weights, [count, k, 1]);
  const width = rows.shape[2] as number;
  return tf.tidy(() => {
    const products = traits.outerProduct === 'broadcast' ? tf.mul(column, rows) : tf.matMul(column, rows);
    return tf.reshape(products, [count * k, width]);
  });
}
