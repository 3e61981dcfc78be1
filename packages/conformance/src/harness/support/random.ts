import type { Shape } from '@topk-attention/core';
import { type Nd, nd } from './nd.js';

/** A small seeded generator (mulberry32), so that every run of a case sees the same numbers. */
export class Random {
  #state: number;

  /** Seeded by a text, usually the name of the case. */
  constructor(seed: string) {
    let hash = 0x811c9dc5;
    for (const character of seed) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
    this.#state = hash >>> 0;
  }

  /** Uniform in [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `low` to `high`. */
  integer(low: number, high: number): number {
    return low + Math.floor(this.next() * (high - low + 1));
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.integer(0, choices.length - 1)] as T;
  }

  /** Numbers in [-1, 1) with 11 bits: exact in every float type. */
  uniform(shape: Shape): Nd {
    return nd(shape, () => this.integer(-1024, 1023) / 1024);
  }

  /** Whole numbers: sums of products are exact in f32, so that selections agree on every backend. */
  integers(shape: Shape, low: number, high: number): Nd {
    return nd(shape, () => this.integer(low, high));
  }

  booleans(shape: Shape, share = 0.5): Nd {
    return nd(shape, () => (this.next() < share ? 1 : 0));
  }

  /** The numbers 0 to n - 1 in random order. */
  permutation(n: number): number[] {
    const order = Array.from({ length: n }, (_, index) => index);
    for (let i = n - 1; i > 0; i--) {
      const j = this.integer(0, i);
      [order[i], order[j]] = [order[j] as number, order[i] as number];
    }
    return order;
  }
}
