/**
 * Selection over values in JavaScript memory: all of it where a loop over typed arrays beats the engine's ops (cpu,
 * wasm), and the last step of it in TensorFlow, where the candidates are a ragged list.
 *
 * The contract is that of core's `topK`: the k largest above -inf, the lower key at the boundary, ascending, -1 in
 * unused slots at the end. In addition, a NaN in a row makes all of its scores NaN.
 */

/** The kept entries of a tile, row by row. */
export interface KeptRows {
  readonly k: number;
  /** [rows * k]: keys ascending, -1 in unused slots. */
  readonly keys: Int32Array;
  /** [rows * k]: -inf in unused slots, NaN throughout where the row held one. */
  readonly scores: Float32Array;
  /** Whether any row has fewer than k. */
  readonly hasUnused: boolean;
}

/** Up to this many smallest values are found by keeping them sorted. */
const FEW = 24;

/** Collects kept entries, one row after the other. */
export class RowKeeper implements KeptRows {
  readonly k: number;
  readonly keys: Int32Array;
  readonly scores: Float32Array;
  hasUnused = false;
  readonly #smallest = new Float32Array(FEW);
  #ranked: Float32Array;
  #row = 0;

  constructor(rows: number, k: number) {
    this.k = k;
    this.keys = new Int32Array(rows * k);
    this.scores = new Float32Array(rows * k);
    this.#ranked = new Float32Array(4 * k);
  }

  /**
   * Keeps the next row: the k largest of values[from .. to), which hold neither NaN nor -inf and belong to ascending
   * `keys`.
   */
  keep(values: Float32Array, keys: Int32Array, from: number, to: number): void {
    const { k } = this;
    const first = this.#row * k;
    this.#row++;
    const count = to - from;
    if (count <= k) {
      for (let at = 0; at < count; at++) {
        this.keys[first + at] = keys[from + at] as number;
        this.scores[first + at] = values[from + at] as number;
      }
      if (count === k) return;
      this.hasUnused = true;
      this.keys.fill(-1, first + count, first + k);
      this.scores.fill(Number.NEGATIVE_INFINITY, first + count, first + k);
      return;
    }
    const excess = count - k;
    const { keys: keptKeys, scores: keptScores } = this;
    // The largest entry to drop; among entries equal to it, the later ones are dropped.
    const threshold =
      excess > FEW
        ? this.#kthLargestOf(values, from, to, k + 1)
        : this.#kthSmallestOf(values, from, to, excess);
    let slot = first;
    for (let at = from; at < to; at++) {
      const score = values[at] as number;
      if (score > threshold) {
        keptKeys[slot] = keys[at] as number;
        keptScores[slot++] = score;
      }
    }
    if (slot < first + k) this.#keepTies(values, keys, from, to, threshold, first + k - slot);
  }

  /** Fills the row again, now with only the first `equals` entries that equal the threshold. */
  #keepTies(
    values: Float32Array,
    keys: Int32Array,
    from: number,
    to: number,
    threshold: number,
    equals: number,
  ): void {
    let left = equals;
    let slot = (this.#row - 1) * this.k;
    for (let at = from; at < to; at++) {
      const score = values[at] as number;
      if (score < threshold || (score === threshold && left-- <= 0)) continue;
      this.keys[slot] = keys[at] as number;
      this.scores[slot++] = score;
    }
  }

  /** Makes all scores of the last row NaN, because one of them was. */
  spoil(): void {
    this.scores.fill(Number.NaN, (this.#row - 1) * this.k, this.#row * this.k);
  }

  #kthSmallestOf(values: Float32Array, from: number, to: number, k: number): number {
    const smallest = this.#smallest;
    let count = 0;
    for (let at = from; at < to; at++) {
      const value = values[at] as number;
      if (count === k) {
        if (value >= (smallest[k - 1] as number)) continue;
      } else count++;
      let place = count - 1;
      for (; place > 0 && (smallest[place - 1] as number) > value; place--) {
        smallest[place] = smallest[place - 1] as number;
      }
      smallest[place] = value;
    }
    return smallest[k - 1] as number;
  }

  #kthLargestOf(values: Float32Array, from: number, to: number, k: number): number {
    const count = to - from;
    if (this.#ranked.length < count) this.#ranked = new Float32Array(2 * count);
    this.#ranked.set(values.subarray(from, to));
    return kthLargest(this.#ranked, count, k);
  }
}

/** The k-th largest of the first `count` values, which it reorders (Hoare's selection, median of three). No NaN. */
export function kthLargest(values: Float32Array, count: number, k: number): number {
  let low = 0;
  let high = count - 1;
  const target = k - 1;
  while (low < high) {
    const pivot = medianOf(
      values[low] as number,
      values[(low + high) >> 1] as number,
      values[high] as number,
    );
    let left = low;
    let right = high;
    while (left <= right) {
      while ((values[left] as number) > pivot) left++;
      while ((values[right] as number) < pivot) right--;
      if (left <= right) {
        const swapped = values[left] as number;
        values[left++] = values[right] as number;
        values[right--] = swapped;
      }
    }
    if (target <= right) high = right;
    else if (target >= left) low = left;
    else break;
  }
  return values[target] as number;
}

function medianOf(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
