import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { binary, where } from './elementwise.js';
import { clearRows, hostGatherRows } from './host-gather.js';
import { hasFloatIntegers, onHost } from './host-integers.js';
import { hostRowNumbers } from './host-scatter.js';
import { isOnHost, slice } from './layout.js';
import { matmul } from './matmul.js';
import { scatterRows } from './scatter-rows.js';
import { toFloats } from './to-floats.js';

/**
 * x [B, N, D] at indices i32 [B, M] -> [B, M, D]; index -1 gives a row of zeros, whatever x holds, and any other outside of
 * [0, N) a row of NaN, or of zeros where x holds no floats. tf.gather throws at these or reads what lies beside x.
 */
export function gatherRows(engine: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const exact = onHost(engine, [x, indices], (host, y, at) => host.gatherRows(y, at));
  if (exact) return exact;
  const { tf } = engine;
  const [batch = 0, n = 0, width = 0] = x.shape;
  const count = indices.shape[1] ?? 0;
  if (batch * width * count === 0) return tf.zeros([batch, count, width], x.dtype);
  if (engine.name === 'cpu' || (engine.name === 'wasm' && n === 0)) {
    // tf's own takes 50 nanoseconds per element.
    const rows = hostGatherRows(x.dataSync(), indices.dataSync(), batch, n, width);
    return tf.tensor(rows, [batch, count, width], x.dtype);
  }
  if (engine.name === 'wasm') return gatherOnWasm(engine, x, indices);
  return tf.tidy(() => {
    const isInside = insideOf(engine, indices, n);
    const isUnused = tf.equal(indices, tf.scalar(-1, 'int32'));
    // Whatever there is at the place of an index that is none is overwritten, or there are rows behind those of x for it:
    // whichever is less to copy.
    if (n < count) {
      const zeros = tf.zeros([batch, 1, width], x.dtype);
      const strangers = x.dtype === 'float32' ? tf.fill([batch, 1, width], Number.NaN) : zeros;
      const filled = (value: number): TfTensor => tf.fill(indices.shape, value, 'int32');
      const row = tf.where(isInside, indices, tf.where(isUnused, filled(n), filled(n + 1)));
      return gatherPerBatch(engine, tf.concat([x, zeros, strangers], 1), row);
    }
    const rows = gatherPerBatch(engine, x, tf.where(isInside, indices, tf.zerosLike(indices)));
    const others =
      x.dtype === 'float32'
        ? tf.where(isUnused, tf.zeros(indices.shape), tf.fill(indices.shape, Number.NaN))
        : tf.zeros(indices.shape, x.dtype);
    return where(engine, tf.expandDims(isInside, 2), rows, tf.expandDims(others, 2));
  });
}

/** Which indices are rows of n. */
function insideOf({ tf }: Engine, indices: TfTensor, n: number): TfTensor {
  return tf.logicalAnd(
    tf.greaterEqual(indices, tf.scalar(0, 'int32')),
    tf.less(indices, tf.scalar(n, 'int32')),
  );
}

/**
 * Row by row of all batches, which are numbered through: a gather of batches reads its indices in the wrong places there, and
 * tf.gather copies element by element (25 ns each). Rows that are none are overwritten.
 */
function gatherOnWasm({ tf }: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const [batch = 0, n = 0, width = 0] = x.shape;
  const shape: [number, number, number] = [batch, indices.shape[1] ?? 0, width];
  const own = indices.dataSync<'int32'>();
  const numbers = hostRowNumbers(own, batch, n);
  const isWhole = numbers.every((number) => number >= 0);
  return tf.tidy(() => {
    const at = tf.tensor(
      isWhole ? numbers : numbers.map((number) => Math.max(number, 0)),
      [own.length, 1],
      'int32',
    );
    const taken = tf.gatherND(tf.reshape(x, [batch * n, width]), at);
    if (isWhole) return tf.reshape(taken, shape);
    const rows = taken.dataSync();
    clearRows(rows, own, n, width);
    return tf.tensor(rows, shape, x.dtype);
  });
}

/** x [B, N, D] at indices [B, M], all of them rows of x; not for the wasm engine. */
export function gatherPerBatch({ tf }: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const [batch = 0, n = 0, width = 0] = x.shape;
  if (batch > 1) return tf.gather(x, indices, 1, 1);
  const count = indices.shape[1] ?? 0;
  const taken = tf.gather(tf.reshape(x, [n, width]), tf.reshape(indices, [count]));
  return tf.reshape(taken, [1, count, width]);
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

/** indices i32 [B, M], updates [B, M, D] -> [B, n, D]: sums of the updates of each row; others than [0, n) are dropped. */
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
 * twice. Updates of other indices go to a row behind the n that count, which is cut off.
 */
export function scatter(engine: Engine, n: number, indices: TfTensor, updates: TfTensor): TfTensor {
  const { tf } = engine;
  const [batch = 0, count = 0, width = 0] = updates.shape;
  if (batch * count * width * n === 0) return tf.zeros([batch, n, width], updates.dtype);
  if (isOnHost(engine)) {
    const numbers = hostRowNumbers(indices.dataSync<'int32'>(), batch, n);
    return tf.tidy(() => {
      const flat = tf.reshape(updates, [batch * count, width]);
      return tf.reshape(scatterRows(engine, numbers, flat, batch * n), [batch, n, width]);
    });
  }
  return tf.tidy(() => {
    const row = tf.where(insideOf(engine, indices, n), indices, tf.fill(indices.shape, n, 'int32'));
    const flat = tf.reshape(updates, [batch * count, width]);
    const sums =
      hasFloatIntegers(engine) && batch > 1
        ? sumsOfRows(engine, withBatch(engine, row), flat, [batch, n + 1, width])
        : sumsOfRows(engine, tf.reshape(numberedThrough(engine, row, n + 1), [batch * count, 1]), flat, [
            batch * (n + 1),
            width,
          ]);
    return slice(engine, tf.reshape(sums, [batch, n + 1, width]), [0, 0, 0], [batch, n, width]);
  });
}

/** tf.scatterND; webgl adds an odd last update to row 0 as well, so there it is followed by one of zeros. */
function sumsOfRows({ tf, name }: Engine, rows: TfTensor, updates: TfTensor, shape: number[]): TfTensor {
  const [count = 0, rank = 1] = rows.shape;
  if (name !== 'webgl' || count % 2 === 0) return tf.scatterND(rows, updates, shape);
  const width = updates.shape[1] as number;
  return tf.scatterND(
    tf.concat([rows, tf.zeros([1, rank], 'int32')]),
    tf.concat([updates, tf.zeros([1, width], updates.dtype)]),
    shape,
  );
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
