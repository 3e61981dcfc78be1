import { concat, narrow, ProgramNumbers, reshape, scope, type Tensor } from '@topk-attention/core';

/** Slices of a step's numbers, each shared by the parameters whose numbers begin there. */
export class NumberParts {
  readonly #whole: Tensor;
  /** Follows the numbers of each part. */
  readonly #scale: Tensor | undefined;
  readonly #parts = new Map<number, ProgramNumbers>();

  constructor(whole: Tensor, scale: Tensor | undefined) {
    this.#whole = whole;
    this.#scale = scale;
  }

  from(start: number, count: number): ProgramNumbers {
    let part = this.#parts.get(start);
    if (part === undefined) {
      const vector = scope(() => this.#cut(start, count).unscopedAlias());
      part = new ProgramNumbers(vector);
      this.#parts.set(start, part);
    }
    return part;
  }

  #cut(start: number, count: number): Tensor {
    const scale = this.#scale;
    // Without a scale, a program may see the numbers of the others behind its own.
    const isWhole = start === 0 && (scale === undefined || count === this.#whole.size);
    const own = isWhole ? this.#whole : narrow(this.#whole, 0, start, count);
    return scale === undefined ? own : concat([own, reshape(scale, [1])], 0);
  }

  dispose(): void {
    for (const part of this.#parts.values()) {
      part.dispose();
      part.vector.dispose();
    }
  }
}
