import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { broadcastTo } from './layout.js';

/**
 * x [B, N, D] at indices i32 [B, M] -> [B, M, D]; index -1 gives a row of zeros, whatever x holds. tf.gather throws at
 * -1, and a product with 0 keeps NaN: so either x gets a row of zeros at its end, or what was gathered is overwritten,
 * whichever is less to copy.
 */
export function gatherRows(engine: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const { tf } = engine;
  const [batch = 0, n = 0, width = 0] = x.shape;
  const count = indices.shape[1] ?? 0;
  if (batch * n * width * count === 0) return tf.zeros([batch, count, width], x.dtype);
  return tf.tidy(() => {
    const isUnused = tf.less(indices, tf.scalar(0, 'int32'));
    if (n < count) {
      const padded = tf.concat([x, tf.zeros([batch, 1, width], x.dtype)], 1);
      const row = tf.where(isUnused, tf.fill(indices.shape, n, 'int32'), indices);
      return gatherPerBatch(engine, padded, row);
    }
    const rows = gatherPerBatch(engine, x, tf.maximum(indices, tf.scalar(0, 'int32')));
    const condition = broadcastTo(engine, tf.expandDims(isUnused, 2), rows.shape);
    return tf.where(condition, tf.zerosLike(rows), rows);
  });
}

/**
 * x [B, N, D] at indices [B, M], all of them rows of x. On the wasm engine a gather of batches reads its indices in the
 * wrong places, so there the rows of all batches are numbered through; on others that could leave the 24 bits of a float.
 */
export function gatherPerBatch(engine: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const { tf } = engine;
  const [batch = 0, n = 0, width = 0] = x.shape;
  const count = indices.shape[1] ?? 0;
  if (batch > 1 && engine.name !== 'wasm') return tf.gather(x, indices, 1, 1);
  const rows = tf.reshape(x, [batch * n, width]);
  const at = tf.reshape(numberedThrough(engine, indices, n), [batch * count]);
  return tf.reshape(tf.gather(rows, at), [batch, count, width]);
}

/** Row i of batch b of [batch, count] is row b n + i of all. */
function numberedThrough({ tf }: Engine, indices: TfTensor, n: number): TfTensor {
  const batch = indices.shape[0] ?? 1;
  if (batch === 1) return indices;
  const starts = tf.tensor2d(
    Int32Array.from({ length: batch }, (_, b) => b * n),
    [batch, 1],
    'int32',
  );
  return tf.add(indices, starts);
}

/**
 * indices i32 [B, M], updates [B, M, D] -> [B, n, D]: sums of the updates of each row. Updates of index -1 go to a row
 * behind the n that count, which is cut off.
 */
export function scatterAddRows(engine: Engine, n: number, indices: TfTensor, updates: TfTensor): TfTensor {
  const { tf } = engine;
  const [batch = 0, count = 0, width = 0] = updates.shape;
  if (batch * count * width * n === 0) return tf.zeros([batch, n, width], updates.dtype);
  return tf.tidy(() => {
    const isUnused = tf.less(indices, tf.scalar(0, 'int32'));
    const row = tf.where(isUnused, tf.fill(indices.shape, n, 'int32'), indices);
    const at = numberedThrough(engine, row, n + 1);
    const flat = tf.reshape(updates, [batch * count, width]);
    const sums = tf.scatterND(tf.reshape(at, [batch * count, 1]), flat, [batch * (n + 1), width]);
    return tf.slice(tf.reshape(sums, [batch, n + 1, width]), [0, 0, 0], [batch, n, width]);
  });
}
