import { zeros } from '../ops/create.js';
import { add } from '../ops/elementwise.js';
import type { Tensor } from '../tensor/tensor.js';

/** Running sums over chunks, in chunk order: the order is part of "same plan, same bits". */
export class Sums {
  readonly #totals = new Map<string, Tensor>();
  readonly #isChunked: boolean;

  constructor(isChunked: boolean) {
    this.#isChunked = isChunked;
  }

  add(name: string, part: Tensor): void {
    const before = this.#totals.get(name) ?? this.#start(part);
    const scoped = before === undefined ? part : add(before, part);
    // Must outlive the chunk's scope, so only this map may hold it.
    this.#totals.set(name, scoped.unscopedAlias());
    before?.dispose();
  }

  /** Zero, so that the first of several chunks looks like the others and a graph-compiling engine compiles only one. */
  #start(part: Tensor): Tensor | undefined {
    return this.#isChunked ? zeros(part.backend, part.shape, part.dtype) : undefined;
  }

  get(name: string): Tensor | undefined {
    return this.#totals.get(name);
  }
}
