import { concat, narrow, ProgramNumbers, reshape, scope, type Tensor } from '@topk-attention/core';

/** Slices of a step's numbers, each shared by the parameters whose numbers begin there. */
export class NumberParts {
  readonly #whole: Tensor;
  /** They follow the numbers of each part. */
  readonly #shared: readonly Tensor[];
  readonly #parts = new Map<number, ProgramNumbers>();

  /** @param shared f32 [] each */
  constructor(whole: Tensor, shared: readonly Tensor[]) {
    this.#whole = whole;
    this.#shared = shared;
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
    const shared = this.#shared;
    // Without shared numbers, a program may see the numbers of the others behind its own.
    const isWhole = start === 0 && (shared.length === 0 || count === this.#whole.size);
    const own = isWhole ? this.#whole : narrow(this.#whole, 0, start, count);
    return shared.length === 0 ? own : concat([own, ...shared.map((one) => reshape(one, [1]))], 0);
  }

  dispose(): void {
    for (const part of this.#parts.values()) {
      part.dispose();
      part.vector.dispose();
    }
  }
}
