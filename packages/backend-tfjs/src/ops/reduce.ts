import { sizeOf } from '@topk-attention/core';
import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';

const SMALLEST_INTEGER = -(2 ** 31);

/** Sum over `axes`, kept as extent 1. */
export function sum(engine: Engine, x: TfTensor, axes: readonly number[]): TfTensor {
  return reduce(engine, x, axes, 0, (y, own) => engine.tf.sum(y, own));
}

/** Largest over `axes`, kept as extent 1; -inf of nothing. With NaN undefined: some engines drop it. */
export function max(engine: Engine, x: TfTensor, axes: readonly number[]): TfTensor {
  const ofNothing = x.dtype === 'int32' ? SMALLEST_INTEGER : Number.NEGATIVE_INFINITY;
  return reduce(engine, x, axes, ofNothing, (y, own) => engine.tf.max(y, own));
}

/** On as few axes as there are: neighbours that are both kept or both reduced are one. */
function reduce(
  { tf }: Engine,
  x: TfTensor,
  axes: readonly number[],
  ofNothing: number,
  run: (x: TfTensor, axes: number[]) => TfTensor,
): TfTensor {
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
  return tf.tidy(() => tf.reshape(run(tf.reshape(x, extents), reduced), shape));
}
