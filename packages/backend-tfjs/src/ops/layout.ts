import { type Shape, sizeOf } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { integersOf, onHost, rememberIntegers } from './host/integers.js';
import { repeatOnHost } from './host/repeat.js';
import { hostSlice } from './host/slice.js';
import { asFloats } from './to-floats.js';
import { sliceByPieces } from './wasm/slice.js';

/** A view: tf counts the data behind both. */
export function reshape(engine: Engine, x: TfTensor, shape: Shape): TfTensor {
  const view = engine.tf.reshape(x, [...shape]);
  const integers = integersOf(x);
  // The webgl engine copies where its textures are packed.
  if (integers && view.dataId !== x.dataId) rememberIntegers(engine, view, integers);
  return view;
}

/**
 * Axis `a` of the result is axis `permutation[a]` of x. Axes of extent 1 are left out and axes that stay neighbours are
 * joined: engines have rank limits, and a transposition that moves nothing is a view.
 */
export function transpose(engine: Engine, x: TfTensor, permutation: readonly number[]): TfTensor {
  const exact = onHost(engine, [x], (host, y) => host.transpose(y, permutation));
  if (exact) return exact;
  const { tf } = engine;
  const shape = permutation.map((axis) => x.shape[axis] ?? 1);
  const runs: number[][] = [];
  for (const axis of permutation) {
    if (x.shape[axis] === 1) continue;
    const run = runs.at(-1);
    if (run !== undefined && isNext(x.shape, run.at(-1) ?? 0, axis)) run.push(axis);
    else runs.push([axis]);
  }
  if (runs.length < 2 || x.size === 0) return reshape(engine, x, shape);
  const inOrder = [...runs].sort((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
  const extents = inOrder.map((run) => run.reduce((size, axis) => size * (x.shape[axis] ?? 1), 1));
  return tf.tidy(() => {
    const joined = asFloats(engine, tf.reshape(x, extents));
    const moved = tf.transpose(
      joined,
      runs.map((run) => inOrder.indexOf(run)),
    );
    return tf.cast(tf.reshape(moved, shape), x.dtype);
  });
}

/** True when `axis` follows `last` with only axes of extent 1 between them. */
function isNext(shape: readonly number[], last: number, axis: number): boolean {
  if (axis <= last) return false;
  for (let between = last + 1; between < axis; between++) if (shape[between] !== 1) return false;
  return true;
}

export function slice(engine: Engine, x: TfTensor, starts: readonly number[], sizes: Shape): TfTensor {
  const exact = onHost(engine, [x], (host, y) => host.slice(y, starts, sizes));
  if (exact) return exact;
  const { tf, traits } = engine;
  if (sizeOf(sizes) === 0) return tf.zeros([...sizes], x.dtype);
  if (sameShape(x.shape, sizes)) return tf.clone(x);
  const joined = joinForSlice(x.shape, starts, sizes);
  return tf.tidy(() => {
    const { shape, starts: from, sizes: extents } = joined;
    if (traits.slice === 'loop')
      return tf.tensor(hostSlice(x.dataSync(), shape, from, extents), [...sizes], x.dtype);
    const taken = traits.slice === 'pieces' ? sliceByPieces(tf, x, shape, from, extents) : undefined;
    return tf.reshape(taken ?? tf.slice(tf.reshape(x, shape), from, extents), [...sizes]);
  });
}

/** Joins axes that are taken whole to the axis before them: fewer axes, longer runs. */
function joinForSlice(
  shape: readonly number[],
  starts: readonly number[],
  sizes: Shape,
): { shape: number[]; starts: number[]; sizes: number[] } {
  const joined = { shape: [] as number[], starts: [] as number[], sizes: [] as number[] };
  shape.forEach((extent, axis) => {
    const start = starts[axis] ?? 0;
    const size = sizes[axis] ?? extent;
    const last = joined.shape.length - 1;
    if (last >= 0 && size === extent) {
      joined.shape[last] = (joined.shape[last] ?? 1) * extent;
      joined.starts[last] = (joined.starts[last] ?? 0) * extent;
      joined.sizes[last] = (joined.sizes[last] ?? 1) * extent;
      return;
    }
    joined.shape.push(extent);
    joined.starts.push(start);
    joined.sizes.push(size);
  });
  return joined;
}

/** Along one axis; each tensor is read as [extents before the axis, its extent times those after it]. */
export function concat(engine: Engine, xs: readonly TfTensor[], axis: number): TfTensor {
  const exact = onHost(engine, xs, (host, ...ys) => host.concat(ys, axis));
  if (exact) return exact;
  const { tf } = engine;
  const [first] = xs;
  if (first === undefined) throw new RangeError('concat of nothing');
  if (xs.length === 1) return tf.clone(first);
  const extent = xs.reduce((sum, x) => sum + (x.shape[axis] ?? 0), 0);
  const shape = first.shape.map((own, a) => (a === axis ? extent : own));
  if (sizeOf(shape) === 0) return tf.zeros(shape, first.dtype);
  const before = sizeOf(shape.slice(0, axis));
  return tf.tidy(() => {
    const parts = xs.filter((x) => x.size > 0).map((x) => tf.reshape(x, [before, x.size / before]));
    return tf.reshape(tf.concat(parts, 1), shape);
  });
}

/** dst with x written at `starts`, as a copy: tensors of tf are never written to. */
export function writeInto(engine: Engine, dst: TfTensor, x: TfTensor, starts: readonly number[]): TfTensor {
  const { tf } = engine;
  if (x.size === 0) return tf.clone(dst);
  const axis = dst.shape.findIndex((extent, a) => extent !== x.shape[a]);
  if (axis < 0) return tf.clone(x);
  return tf.tidy(() => {
    const start = starts[axis] ?? 0;
    const size = x.shape[axis] ?? 0;
    const cut = (from: number, extent: number): TfTensor =>
      slice(
        engine,
        dst,
        dst.shape.map((_, a) => (a === axis ? from : 0)),
        dst.shape.map((own, a) => (a === axis ? extent : own)),
      );
    const isWholeBeyond = dst.shape.every((extent, a) => a === axis || extent === x.shape[a]);
    // Within the slab that x lies in, the axes after this one are written in the same way.
    const slab = isWholeBeyond
      ? x
      : writeInto(
          engine,
          cut(start, size),
          x,
          starts.map((own, a) => (a === axis ? 0 : own)),
        );
    const end = start + size;
    return concat(engine, [cut(0, start), slab, cut(end, (dst.shape[axis] ?? 0) - end)], axis);
  });
}

/** Shapes, with neighbouring axes joined where each operand has all elements or one: enough for broadcasting. */
export function joinForBroadcast(shapes: readonly Shape[], result: Shape): number[][] {
  const joined: number[][] = shapes.map(() => []);
  let before = '';
  result.forEach((extent, axis) => {
    if (extent === 1) return;
    const own = shapes.map((shape) => shape[axis - result.length + shape.length] ?? 1);
    const pattern = own.map((one) => (one === 1 ? '1' : 'n')).join('');
    own.forEach((one, i) => {
      const axes = joined[i] ?? [];
      if (pattern === before) axes.push((axes.pop() ?? 1) * one);
      else axes.push(one);
    });
    before = pattern;
  });
  return joined;
}

/** x repeated to `shape`, as NumPy broadcasts. A view where nothing is repeated. */
export function broadcastTo(engine: Engine, x: TfTensor, shape: Shape): TfTensor {
  const { tf } = engine;
  const size = sizeOf(shape);
  if (x.size === size) return reshape(engine, x, shape);
  if (size === 0) return tf.zeros([...shape], x.dtype);
  const [own = []] = joinForBroadcast([x.shape], shape);
  const [whole = []] = joinForBroadcast([shape], shape).map(() => joinedExtents(x.shape, shape));
  return tf.tidy(() => {
    const repeats = whole.map((extent, axis) => extent / (own[axis] ?? 1));
    if (engine.traits.isOnHost) return tf.reshape(repeatOnHost(engine, x, own, repeats), [...shape]);
    return tf.reshape(tile(engine, x, own, repeats), [...shape]);
  });
}

/** Tiles axis by axis beyond four: the webgpu engine would tile more axes on the host, and have to wait for it. */
function tile({ tf }: Engine, x: TfTensor, shape: readonly number[], repeats: readonly number[]): TfTensor {
  if (shape.length <= 4) return tf.tile(tf.reshape(x, [...shape]), [...repeats]);
  return repeats.reduce<TfTensor>((tiled, repeat, axis) => {
    if (repeat === 1) return tiled;
    const before = sizeOf(shape.slice(0, axis)) * sizeOf(repeats.slice(0, axis));
    return tf.tile(tf.reshape(tiled, [before, 1, tiled.size / before]), [1, repeat, 1]);
  }, x);
}

/** Extents of `result`, joined in the same way as `joinForBroadcast` joins the axes of `shape`. */
function joinedExtents(shape: Shape, result: Shape): number[] {
  const extents: number[] = [];
  let before: boolean | undefined;
  result.forEach((extent, axis) => {
    if (extent === 1) return;
    const isRepeated = (shape[axis - result.length + shape.length] ?? 1) === 1;
    if (isRepeated === before) extents.push((extents.pop() ?? 1) * extent);
    else extents.push(extent);
    before = isRepeated;
  });
  return extents;
}
