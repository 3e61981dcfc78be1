import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { binary, where } from './elementwise.js';
import { clearRows, hostGatherRows } from './host/gather.js';
import { onHost } from './host/integers.js';
import { hostRowNumbers } from './host/scatter.js';
import { slice } from './layout.js';
import { matmul } from './matmul.js';
import { scatterRows } from './scatter-rows.js';
import { toFloats } from './to-floats.js';

/**
 * x [B, N, D] at indices i32 [B, M] -> [B, M, D]. Index -1 gives a row of zeros, whatever x holds; any other index
 * outside [0, N) gives a row of NaN, or of zeros where x holds no floats. tf.gather throws at those or reads memory
 * outside x.
 */
export function gatherRows(engine: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const exact = onHost(engine, [x, indices], (host, y, at) => host.gatherRows(y, at));
  if (exact) return exact;
  const { tf, traits } = engine;
  const [batch = 0, n = 0, width = 0] = x.shape;
  const count = indices.shape[1] ?? 0;
  if (batch * width * count === 0) return tf.zeros([batch, count, width], x.dtype);
  if (traits.gather === 'loop' || (traits.gather === 'flat' && n === 0)) {
    const rows = hostGatherRows(x.dataSync(), indices.dataSync(), batch, n, width);
    return tf.tensor(rows, [batch, count, width], x.dtype);
  }
  if (traits.gather === 'flat') return gatherFlat(engine, x, indices);
  return tf.tidy(() => {
    const isInside = insideOf(engine, indices, n);
    const isUnused = tf.equal(indices, tf.scalar(-1, 'int32'));
    // Rows for indices outside x are appended to x, or overwrite what was gathered for them: whichever copies less.
    if (n < count) {
      const zeros = tf.zeros([batch, 1, width], x.dtype);
      const outside = x.dtype === 'float32' ? tf.fill([batch, 1, width], Number.NaN) : zeros;
      const filled = (value: number): TfTensor => tf.fill(indices.shape, value, 'int32');
      const row = tf.where(isInside, indices, tf.where(isUnused, filled(n), filled(n + 1)));
      return gatherPerBatch(engine, tf.concat([x, zeros, outside], 1), row);
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

/** By one gatherND over the rows of all batches. Rows for indices outside x are overwritten. */
function gatherFlat({ tf }: Engine, x: TfTensor, indices: TfTensor): TfTensor {
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

/** x [B, N, D] at indices [B, M], all of which are rows of x. For engines that gather by tf.gather. */
export function gatherPerBatch({ tf }: Engine, x: TfTensor, indices: TfTensor): TfTensor {
  const [batch = 0, n = 0, width = 0] = x.shape;
  if (batch > 1) return tf.gather(x, indices, 1, 1);
  const count = indices.shape[1] ?? 0;
  const taken = tf.gather(tf.reshape(x, [n, width]), tf.reshape(indices, [count]));
  return tf.reshape(taken, [1, count, width]);
}

/** Row i of batch b of [batch, count] as row b n + i of all batches. */
function flatRows(engine: Engine, indices: TfTensor, n: number): TfTensor {
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
 * indices i32 [B, M], updates [B, M, D] -> [B, n, D]: sums of the updates of each row; indices outside [0, n) are
 * dropped.
 */
export function scatterAddRows(engine: Engine, n: number, indices: TfTensor, updates: TfTensor): TfTensor {
  const exact = onHost(engine, [indices, updates], (host, at, own) => host.scatterAddRows(n, at, own));
  if (exact) return exact;
  const { scatterByProductPairs: mostPairs } = engine.traits;
  const isByProduct = mostPairs !== undefined && n * indices.size <= mostPairs;
  // Integers give the same sum in any order.
  return isByProduct && updates.dtype === 'float32' && updates.size > 0
    ? scatterByProduct(engine, n, indices, updates)
    : scatter(engine, n, indices, updates);
}

/**
 * The same without matrix products: equal bits for equal inputs if the engine scatters in a fixed order or no index
 * comes twice. Updates of indices outside [0, n) go to an additional row, which is cut off.
 */
export function scatter(engine: Engine, n: number, indices: TfTensor, updates: TfTensor): TfTensor {
  const { tf, traits } = engine;
  const [batch = 0, count = 0, width = 0] = updates.shape;
  if (batch * count * width * n === 0) return tf.zeros([batch, n, width], updates.dtype);
  if (traits.isOnHost) {
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
      traits.hasFloatIntegers && batch > 1
        ? sumsOfRows(engine, withBatch(engine, row), flat, [batch, n + 1, width])
        : sumsOfRows(engine, tf.reshape(flatRows(engine, row, n + 1), [batch * count, 1]), flat, [
            batch * (n + 1),
            width,
          ]);
    return slice(engine, tf.reshape(sums, [batch, n + 1, width]), [0, 0, 0], [batch, n, width]);
  });
}

/** tf.scatterND; an odd last update is followed by one of zeros where the engine would add it to row 0 as well. */
function sumsOfRows({ tf, traits }: Engine, rows: TfTensor, updates: TfTensor, shape: number[]): TfTensor {
  const [count = 0, rank = 1] = rows.shape;
  if (!traits.scattersInPairs || count % 2 === 0) return tf.scatterND(rows, updates, shape);
  const width = updates.shape[1] as number;
  return tf.scatterND(
    tf.concat([rows, tf.zeros([1, rank], 'int32')]),
    tf.concat([updates, tf.zeros([1, width], updates.dtype)]),
    shape,
  );
}

/** Rows [B, M] as pairs (batch, row) [B M, 2]: flat row numbers could exceed the 24 bits of a float. */
function withBatch({ tf }: Engine, row: TfTensor): TfTensor {
  const [batch = 1, count = 1] = row.shape;
  const batches = tf.tile(tf.reshape(tf.range(0, batch, 1, 'int32'), [batch, 1]), [1, count]);
  return tf.stack([tf.reshape(batches, [batch * count]), tf.reshape(row, [batch * count])], 1);
}

/**
 * Multiplies by a matrix that has a one where an update belongs to a row. NaN and infinities would spoil every row, as
 * 0 times infinity is NaN: they are scattered instead, since the order in which they are added does not matter.
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
