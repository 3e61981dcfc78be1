import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { withFlag } from './flags.js';
import { hostOrder } from './host/order.js';
import { hostTopK } from './host/top-k.js';
import { gatherPerBatch } from './rows.js';
import { toFloats } from './to-floats.js';

export interface TopK {
  readonly values: TfTensor;
  readonly indices: TfTensor;
}

/**
 * The k largest entries above -inf of each row of the last axis, ascending by index, the lower index first among
 * equals; unused slots at the end with value -inf and index -1. No NaN.
 */
export function topK(engine: Engine, x: TfTensor, k: number): TopK {
  const { tf, traits } = engine;
  const width = x.shape.at(-1) ?? 1;
  const shape = [...x.shape.slice(0, -1), k];
  if (x.size === 0) return { values: tf.zeros(shape), indices: tf.zeros(shape, 'int32') };
  if (traits.topK === 'loop') {
    const { values, indices } = hostTopK(x.dataSync(), width, k);
    return { values: tf.tensor(values, shape), indices: tf.tensor(indices, shape, 'int32') };
  }
  if (traits.topK === 'tf.topk, ordered by a loop') {
    // Faster than a second selection: there are only k per row.
    const largest = tf.topk(x, k, false);
    const { values, indices } = hostOrder(
      largest.values.dataSync<'float32'>(),
      largest.indices.dataSync<'int32'>(),
      k,
      width,
    );
    tf.dispose([largest.values, largest.indices]);
    return { values: tf.tensor(values, shape), indices: tf.tensor(indices, shape, 'int32') };
  }
  return tf.tidy(() => {
    const rows = tf.reshape(x, [x.size / width, width]);
    const { values, indices } = ascending(engine, rows, k, width);
    const unused = tf.less(indices, tf.scalar(0, 'int32'));
    const own = tf.where(unused, tf.fill(indices.shape, Number.NEGATIVE_INFINITY), values);
    return { values: tf.reshape(own, shape), indices: tf.reshape(indices, shape) };
  });
}

/** x [R, n] at indices [R, m], all of which are columns of x. */
function takeRows(engine: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const { tf } = engine;
  return tf.reshape(gatherPerBatch(engine, tf.expandDims(x, 2), indices), indices.shape);
}

/** tf.topk, always on the engine's own device. */
function topk(engine: Engine, rows: TfTensor, k: number): { values: TfTensor; indices: TfTensor } {
  const { tf, traits } = engine;
  const run = (): { values: TfTensor; indices: TfTensor } => tf.topk(rows, k, true);
  return traits.cpuForwardFlag === undefined ? run() : withFlag(engine, traits.cpuForwardFlag, false, run);
}

/** tf.topk, sorted by index; unused slots last, with index -1. */
function ascending(engine: Engine, rows: TfTensor, k: number, width: number): TopK {
  const { tf } = engine;
  const largest = topk(engine, rows, k);
  const isUsed = tf.greater(largest.values, tf.scalar(Number.NEGATIVE_INFINITY));
  // Sorted by a second selection of negated indices, as floats, exact up to 2^24. Unused slots have the largest index.
  const position = tf.where(
    isUsed,
    tf.neg(toFloats(engine, largest.indices)),
    tf.fill(largest.indices.shape, -width),
  );
  const order = topk(engine, position, k);
  const indices = tf.cast(tf.neg(order.values), 'int32');
  return {
    values: takeRows(engine, largest.values, order.indices),
    indices: tf.where(
      tf.equal(indices, tf.scalar(width, 'int32')),
      tf.fill(indices.shape, -1, 'int32'),
      indices,
    ),
  };
}
