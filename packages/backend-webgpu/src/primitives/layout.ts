import { sizeOf } from '@topk-attention/core';
import { stridesOf } from '@topk-attention/core/backend';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { type Mapping, recordMap } from './map-elements.js';
import { recordWriteBox } from './write-box.js';

const move: Mapping = { name: 'move', raw: true, body: 'return a;' };

/** Axis `a` of `out` is axis `permutation[a]` of x. */
export function recordTranspose(stream: Stream, x: View, permutation: readonly number[], out: View): void {
  const own = stridesOf(x.shape);
  const strides = permutation.map((axis) => own[axis] as number);
  recordMap(stream, move, [{ view: x, strides }], out);
}

/** The box of x at `starts` that has the shape of `out`. */
export function recordSlice(stream: Stream, x: View, starts: readonly number[], out: View): void {
  const strides = stridesOf(x.shape);
  const start = starts.reduce((sum, at, axis) => sum + at * (strides[axis] as number), 0);
  recordMap(stream, move, [{ view: x, strides, start }], out);
}

export function recordConcat(stream: Stream, xs: readonly View[], axis: number, out: View): void {
  const starts = new Array<number>(out.shape.length).fill(0);
  // Boxes of f16 are merged into words that hold other elements too.
  if (out.dtype === 'f16') stream.clear(out.span);
  for (const x of xs) {
    recordWriteBox(stream, x, out, starts);
    starts[axis] = (starts[axis] as number) + (x.shape[axis] as number);
  }
}

/** Copies a whole tensor. */
export function recordCopy(stream: Stream, x: View, out: View): void {
  if (sizeOf(x.shape) > 0) stream.copy(x.span, out.span);
}
