import { sizeOf } from '@topk-attention/core';
import type { FeedForwardInputs } from '@topk-attention/core/backend';
import { type Binding, bindingOf, wholeOf, windowOf } from '../runtime/binding.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordNarrow, recordWiden } from './elementwise.js';

/** Scratch of one call, all returned by `release`. */
export class Borrowed {
  readonly #stream: Stream;
  #spans: Span[] = [];

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  take(words: number): Binding {
    const span = this.#stream.scratch(4 * words);
    this.#spans.push(span);
    return wholeOf(span);
  }

  release(): void {
    for (const span of this.#spans) this.#stream.release(span);
    this.#spans = [];
  }
}

/** Rows `start` to `start + rows` of a [*, columns] tensor as f32: the tensor itself, or a widened copy. */
export function rowsAsF32(
  stream: Stream,
  borrowed: Borrowed,
  view: View,
  start: number,
  rows: number,
  columns: number,
): Binding {
  const [first, count] = [start * columns, rows * columns];
  const window = windowOf(view, first, count);
  if (view.dtype !== 'f16') return window;
  const out = borrowed.take(count);
  recordWiden(stream, count, window, out);
  return out;
}

/** The whole tensor as f32. */
function asF32(stream: Stream, borrowed: Borrowed, view: View): Binding {
  return rowsAsF32(stream, borrowed, view, 0, 1, sizeOf(view.shape));
}

/** Weights as f32, by role. */
export type Weights = Omit<FeedForwardInputs<Binding>, 'x'>;

export function weightsAsF32(
  stream: Stream,
  borrowed: Borrowed,
  { wIn, bIn, wGate, wOut, bOut }: Omit<FeedForwardInputs<View>, 'x'>,
): Weights {
  const f32 = (view: View): Binding => asF32(stream, borrowed, view);
  return {
    wIn: f32(wIn),
    ...(bIn && { bIn: f32(bIn) }),
    ...(wGate && { wGate: f32(wGate) }),
    wOut: f32(wOut),
    ...(bOut && { bOut: f32(bOut) }),
  };
}

/** Where rows of a result are computed in f32; `store` then writes them to an f16 tensor. */
export interface Target {
  readonly range: Binding;
  store(): void;
}

/** As `rowsAsF32`, for writing. An f16 tensor's `start * columns` must be even. */
export function rowsToWrite(
  stream: Stream,
  borrowed: Borrowed,
  view: View,
  start: number,
  rows: number,
  columns: number,
): Target {
  const [first, count] = [start * columns, rows * columns];
  if (view.dtype !== 'f16') return { range: windowOf(view, first, count), store: () => {} };
  const range = borrowed.take(count);
  return {
    range,
    store: () => recordNarrow(stream, count, range, bindingOf(view.span, first / 2, Math.ceil(count / 2))),
  };
}

/** A whole result that starts at zero and is accumulated into. */
export function zeroedTarget(stream: Stream, borrowed: Borrowed, view: View): Target {
  const target = rowsToWrite(stream, borrowed, view, 0, 1, sizeOf(view.shape));
  stream.clear(target.range.span);
  return target;
}
