import type { DType } from '@topk-attention/core';
import { recordFill, wordOf } from './primitives/fill.js';
import type { Span } from './runtime/kernel.js';
import type { Stream } from './runtime/stream.js';

/** Scalars kept on the device: operands such as the 2 of `mul(x, 2)` recur with every call. */
const MOST_CONSTANTS = 256;

/** Buffers of single values, each shared by all scalars with the same bits. */
export class Constants {
  readonly #stream: Stream;
  /** By the stored word. */
  readonly #known = new Map<number, Span>();

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /** A buffer that holds the value; undefined when too many are already kept. */
  of(value: number, dtype: DType): Span | undefined {
    const word = wordOf(value, dtype);
    const known = this.#known.get(word);
    if (known !== undefined || this.#known.size >= MOST_CONSTANTS) return known;
    const span = this.#stream.scratch(4);
    recordFill(this.#stream, value, { span, shape: [1], dtype });
    this.#known.set(word, span);
    return span;
  }

  /** Forgets all of them; their buffers go with the stream. */
  clear(): void {
    this.#known.clear();
  }
}
