import type { Backend } from '../contract/backend.js';
import { zeros } from '../ops/create.js';
import { concat, writeInto } from '../ops/layout.js';
import type { Tensor } from '../tensor/tensor.js';

/** A tensor that is made part by part along axis 2, in any order of the parts. */
export class Joined {
  readonly #backend: Backend;
  readonly #length: number;
  readonly #isInPlace: boolean;
  #whole: Tensor | undefined;
  readonly #parts: { readonly start: number; readonly part: Tensor }[] = [];

  constructor(backend: Backend, length: number) {
    this.#backend = backend;
    this.#length = length;
    this.#isInPlace = backend.capabilities.limits.inPlace;
  }

  /** Takes over a part of the positions from `start` on. */
  put(start: number, part: Tensor): void {
    if (part.shape[2] === this.#length) {
      this.#whole = this.#kept(part);
    } else if (this.#isInPlace) {
      const shape = part.shape.map((extent, axis) => (axis === 2 ? this.#length : extent));
      const before = this.#whole ?? this.#kept(zeros(this.#backend, shape, part.dtype));
      const starts = shape.map((_, axis) => (axis === 2 ? start : 0));
      this.#whole = this.#kept(writeInto(before, part, starts));
      part.dispose();
    } else {
      this.#parts.push({ start, part: this.#kept(part) });
    }
  }

  /** The whole tensor, once; undefined if nothing was put. */
  take(): Tensor | undefined {
    if (this.#parts.length > 0) {
      const ordered = [...this.#parts].sort((a, b) => a.start - b.start).map(({ part }) => part);
      const whole = concat(ordered, 2);
      for (const part of ordered) part.dispose();
      return whole;
    }
    const whole = this.#whole?.alias();
    this.#whole?.dispose();
    return whole;
  }

  /** The same value, whatever scope is open: parts outlive the scopes of their blocks. */
  #kept(made: Tensor): Tensor {
    const kept = made.unscopedAlias();
    made.dispose();
    return kept;
  }
}
