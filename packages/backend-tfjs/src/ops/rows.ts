import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { binary } from './elementwise.js';
import { hostGatherRows } from './host-gather.js';
import { hasFloatIntegers, onHost } from './host-integers.js';
import { broadcastTo, slice } from './layout.js';
import { matmul } from './matmul.js';
import { toFloats } from './to-floats.js';

/**
 * x [B, N, D] at indices i32 [B, M] -> [B, M, D]; index -1 gives a row of zeros, whatever x holds. tf.gather throws at
 * -1, and a product with 0 keeps NaN: so either x gets a row of zeros at its end, or what was gathered is overwritten,
 * whichever is less to copy.
 */
export function gatherRows(engine: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const exact = onHost(engine, [x, indices], (host, y, at) => host.gatherRows(y, at));
  if (exact) return exact;
  const { tf } = engine;
  const [batch = 0, n = 0, width = 0] = x.shape;
  const count = indices.shape[1] ?? 0;
  if (batch * n * width * count === 0) return tf.zeros([batch, count, width], x.dtype);
  if (engine.name === 'cpu') {
    // tf's own takes 50 nanoseconds per element.
    const rows = hostGatherRows(x.dataSync(), indices.dataSync(), batch, n, width);
    return tf.tensor(rows, [batch, count, width], x.dtype);
  }
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
  // There tf.gather copies element by element (25 ns each), and this row by row.
  const taken =
    engine.name === 'wasm' ? tf.gatherND(rows, tf.reshape(at, [batch * count, 1])) : tf.gather(rows, at);
  return tf.reshape(taken, [batch, count, width]);
}

/** Row i of batch b of [batch, count] is row b n + i of all. */
function numberedThrough(engine: Engine, indices: TfTensor, n: number): TfTensor {
  const { tf } = engine;
  const batch = indices.shape[0] ?? 1;
  if (batch === 1) return indices;
  const starts = tf.tensor2d(
    Int32Array.from({ length: batch }, (_, b) => b * n),
    [batch, 1],
    'int32',
  );
  return binary(engine, 'add', indices, starts);
}

/**
 * Most (row, update) pairs of a scatter that the webgpu engine does as a product of matrices: its own scatter adds with
 * float atomics, in whatever order they come.
 */
export const ORDERED_SCATTER_PAIRS: number = 2 ** 22;

/** indices i32 [B, M], updates [B, M, D] -> [B, n, D]: sums of the updates of each row; index -1 is dropped. */
export function scatterAddRows(engine: Engine, n: number, indices: TfTensor, updates: TfTensor): TfTensor {
  const exact = onHost(engine, [indices, updates], (host, at, own) => host.scatterAddRows(n, at, own));
  if (exact) return exact;
  const isOrdered = engine.name !== 'webgpu' || updates.dtype !== 'float32' || updates.size === 0;
  return isOrdered || n * indices.size > ORDERED_SCATTER_PAIRS
    ? scatter(engine, n, indices, updates)
    : scatterByProduct(engine, n, indices, updates);
}

/**
 * The same by tf.scatterND: equal bits for equal inputs on every engine but webgpu, and there too where no index comes
 * twice. Updates of index -1 go to a row behind the n that count, which is cut off.
 */
export function scatter(engine: Engine, n: number, indices: TfTensor, updates: TfTensor): TfTensor {
  const { tf } = engine;
  const [batch = 0, count = 0, width = 0] = updates.shape;
  if (batch * count * width * n === 0) return tf.zeros([batch, n, width], updates.dtype);
  return tf.tidy(() => {
    const isUnused = tf.less(indices, tf.scalar(0, 'int32'));
    const row = tf.where(isUnused, tf.fill(indices.shape, n, 'int32'), indices);
    const flat = tf.reshape(updates, [batch * count, width]);
    const sums =
      hasFloatIntegers(engine) && batch > 1
        ? tf.scatterND(withBatch(engine, row), flat, [batch, n + 1, width])
        : tf.scatterND(tf.reshape(numberedThrough(engine, row, n + 1), [batch * count, 1]), flat, [
            batch * (n + 1),
            width,
          ]);
    return slice(engine, tf.reshape(sums, [batch, n + 1, width]), [0, 0, 0], [batch, n, width]);
  });
}

/** Rows [B, M] as pairs (batch, row) [B M, 2]: numbered through, they could leave the 24 bits of a float. */
function withBatch({ tf }: Engine, row: TfTensor): TfTensor {
  const [batch = 1, count = 1] = row.shape;
  const batches = tf.tile(tf.reshape(tf.range(0, batch, 1, 'int32'), [batch, 1]), [1, count]);
  return tf.stack([tf.reshape(batches, [batch * count]), tf.reshape(row, [batch * count])], 1);
}

/**
 * The product of a matrix of ones, where an update belongs to a row, with the updates. Those that are no numbers would
 * spoil every row, as 0 times infinity is NaN: they are scattered, and of them the order does not matter.
 */
function scatterByProduct(engine: Engine, n: number, indices: TfTensor, updates: TfTensor): TfTensor {
  const { tf } = engine;
  return tf.tidy(() => {
    const own = tf.reshape(tf.range(0, n, 1, 'int32'), [1, n, 1]);
    const belongs = toFloats(engine, tf.equal(tf.expandDims(indices, 1), own));
    const isNumber = tf.isFinite(updates);
    const zeros = tf.zerosLike(updates);
    const sums = matmul(engine, belongs, tf.where(isNumber, updates, zeros), false, false);
    return tf.add(sums, scatter(engine, n, indices, tf.where(isNumber, zeros, updates)));
  });
}
