/** One seed per use, derived from the layer's own seed if it has one, so that a training run can be repeated. */
export class DropoutSeeds {
  readonly #first: number;
  #used = 0;

  constructor(seed: number | undefined) {
    this.#first = seed ?? Math.floor(Math.random() * 2 ** 31);
  }

  next(): number {
    const seed = this.#first + this.#used;
    this.#used++;
    return seed;
  }
}
