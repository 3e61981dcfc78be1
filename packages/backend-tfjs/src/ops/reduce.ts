import { sizeOf } from '@topk-attention/core';
import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { onHost } from './host/integers.js';
import { slice } from './layout.js';
import { asFloats } from './to-floats.js';

const SMALLEST_INTEGER = -(2 ** 31);

/** Sum over `axes`, kept as extent 1. */
export function sum(engine: Engine, x: TfTensor, axes: readonly number[]): TfTensor {
  const exact = onHost(engine, [x], (host, y) => host.sum(y, axes));
  return exact ?? reduce(engine, x, axes, 0, (y, own) => sumOf(engine, y, own));
}

/**
 * Most terms that are added to one f32; sums of that many are then added in the same way. Equal terms are off by 4e-6.
 */
export const TERMS_IN_A_ROW = 512;

/** tf.sum over `axes`, in blocks where there are many terms. */
function sumOf(engine: Engine, x: TfTensor, axes: number[]): TfTensor {
  const { tf, traits } = engine;
  const terms = axes.reduce((product, axis) => product * (x.shape[axis] ?? 1), 1);
  if (terms <= TERMS_IN_A_ROW || !traits.sumsInARow || x.dtype !== 'float32') return tf.sum(x, axes);
  return axes.reduceRight((sum, axis) => {
    const before = sizeOf(sum.shape.slice(0, axis));
    const extent = sum.shape[axis] ?? 1;
    const blocks = tf.reshape(sum, [before, extent, sum.size / before / extent]);
    return tf.reshape(
      sumOfBlocks(engine, blocks),
      sum.shape.filter((_, at) => at !== axis),
    );
  }, x);
}

/** x [A, N, C] -> [A, C] */
function sumOfBlocks(engine: Engine, x: TfTensor): TfTensor {
  const { tf } = engine;
  const [before = 0, extent = 0, after = 0] = x.shape;
  if (extent <= TERMS_IN_A_ROW) return tf.sum(x, 1);
  const size = Math.ceil(extent / Math.ceil(extent / TERMS_IN_A_ROW));
  const blocks = Math.floor(extent / size);
  const part = (from: number, count: number): TfTensor =>
    slice(engine, x, [0, from, 0], [before, count, after]);
  const whole = tf.reshape(part(0, blocks * size), [before * blocks, size, after]);
  const sums = sumOfBlocks(engine, tf.reshape(tf.sum(whole, 1), [before, blocks, after]));
  const rest = extent - blocks * size;
  return rest === 0 ? sums : tf.add(sums, tf.sum(part(blocks * size, rest), 1));
}

/** Largest over `axes`, kept as extent 1; -inf of nothing. Undefined with NaN, which some engines drop. */
export function max(engine: Engine, x: TfTensor, axes: readonly number[]): TfTensor {
  const exact = onHost(engine, [x], (host, y) => host.max(y, axes));
  if (exact) return exact;
  const ofNothing = x.dtype === 'int32' ? SMALLEST_INTEGER : Number.NEGATIVE_INFINITY;
  return reduce(engine, x, axes, ofNothing, (y, own) => largest(engine, y, own));
}

/** Above -1e20, the floor of some engines' maxima, and a power of two that brings every float above it. */
const FLOOR = -5e19;
const SCALE = 2 ** -64;

/**
 * tf.max without the floor at -1e20 that some engines have. Near it, the numbers are scaled to above it, and their
 * maximum is scaled back: exact, as the scale is a power of two. For rows of only -inf, the engine's -1e20 overflows
 * to -inf.
 */
export function largest({ tf, traits }: Engine, x: TfTensor, axes: number[], keepDims = false): TfTensor {
  if (!traits.floorsMaxima || x.dtype !== 'float32') return tf.max(x, axes, keepDims);
  return tf.tidy(() => {
    const plain = tf.max(x, axes, keepDims);
    const scaled = tf.max(tf.mul(x, tf.scalar(SCALE)), axes, keepDims);
    const low = tf.mul(scaled, tf.scalar(1 / SCALE));
    return tf.where(tf.greater(plain, tf.scalar(FLOOR)), plain, low);
  });
}

/** Runs a reduction on as few axes as possible: neighbours that are both kept or both reduced are joined. */
function reduce(
  engine: Engine,
  x: TfTensor,
  axes: readonly number[],
  ofNothing: number,
  run: (x: TfTensor, axes: number[]) => TfTensor,
): TfTensor {
  const { tf } = engine;
  const shape = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
  if (x.size === 0)
    return tf.fill(shape, sizeOf(shape) === 0 ? 0 : ofNothing, x.dtype as 'float32' | 'int32');
  const extents: number[] = [];
  const reduced: number[] = [];
  let before: boolean | undefined;
  x.shape.forEach((extent, axis) => {
    const isReduced = axes.includes(axis);
    if (extent === 1) return;
    if (isReduced === before) extents.push((extents.pop() ?? 1) * extent);
    else if (extents.push(extent) && isReduced) reduced.push(extents.length - 1);
    before = isReduced;
  });
  if (reduced.length === 0) return tf.reshape(x, shape);
  return tf.tidy(() => {
    const result = run(asFloats(engine, tf.reshape(x, extents)), reduced);
    return tf.reshape(tf.cast(result, x.dtype), shape);
  });
}
