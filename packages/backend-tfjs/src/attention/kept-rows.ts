/**
 * Selection over values that lie in JavaScript memory: what a loop over typed arrays does better than the ops of an
 * engine (cpu, wasm), and the last step of the selection in TensorFlow, whose candidates are a ragged list.
 *
 * Everything here keeps the contract of core's `topK`: the k largest above -inf, at the boundary the lower key,
 * ascending, -1 behind. A NaN in the row makes all of its scores NaN.
 */

/** What selection leaves of a chunk, row by row. */
export interface KeptRows {
  readonly k: number;
  /** [rows * k]: keys ascending, -1 in unused slots. */
  readonly keys: Int32Array;
  /** [rows * k]: -inf in unused slots, NaN throughout where the row held one. */
  readonly scores: Float32Array;
  /** Whether any slot is unused, any row empty, or any score not finite: all false lets quick ops follow. */
  readonly hasUnused: boolean;
}

/** Collects kept entries row by row; `add` in ascending key order, then `finish` once per row. */
export class RowKeeper implements KeptRows {
  readonly k: number;
  readonly keys: Int32Array;
  readonly scores: Float32Array;
  hasUnused = false;
  /** Candidates of the current row, in ascending key order. */
  #candidates: Float32Array;
  #candidateKeys: Int32Array;
  #ranked: Float32Array;
  #count = 0;
  #row = 0;
  #hadNaN = false;

  constructor(rows: number, k: number) {
    this.k = k;
    this.keys = new Int32Array(rows * k);
    this.scores = new Float32Array(rows * k);
    this.#candidates = new Float32Array(4 * k);
    this.#candidateKeys = new Int32Array(4 * k);
    this.#ranked = new Float32Array(4 * k);
  }

  add(score: number, key: number): void {
    if (score === Number.NEGATIVE_INFINITY) return;
    if (Number.isNaN(score)) {
      this.#hadNaN = true;
      return;
    }
    if (this.#count === this.#candidates.length) this.#grow();
    this.#candidates[this.#count] = score;
    this.#candidateKeys[this.#count] = key;
    this.#count++;
  }

  /** Ends the current row. */
  finish(): void {
    const { k } = this;
    if (this.#count > k) this.#dropSmallest();
    const first = this.#row * k;
    const count = this.#count;
    for (let slot = 0; slot < count; slot++) {
      this.keys[first + slot] = this.#candidateKeys[slot] as number;
      this.scores[first + slot] = this.#candidates[slot] as number;
    }
    if (count < k) {
      this.hasUnused = true;
      this.keys.fill(-1, first + count, first + k);
      this.scores.fill(Number.NEGATIVE_INFINITY, first + count, first + k);
    }
    if (this.#hadNaN) this.scores.fill(Number.NaN, first, first + k);
    this.#row++;
    this.#count = 0;
    this.#hadNaN = false;
  }

  /** Rows after the last that had a candidate. */
  finishUntil(row: number): void {
    while (this.#row < row) this.finish();
  }

  #dropSmallest(): void {
    const { k } = this;
    const count = this.#count;
    const candidates = this.#candidates;
    const keys = this.#candidateKeys;
    const ranked = this.#ranked;
    for (let at = 0; at < count; at++) ranked[at] = candidates[at] as number;
    const threshold = kthLargest(ranked, count, k);
    let above = 0;
    for (let at = 0; at < count; at++) if ((candidates[at] as number) > threshold) above++;
    let equalsLeft = k - above;
    let kept = 0;
    for (let at = 0; at < count; at++) {
      const score = candidates[at] as number;
      if (score > threshold || (score === threshold && equalsLeft-- > 0)) {
        candidates[kept] = score;
        keys[kept] = keys[at] as number;
        kept++;
      }
    }
    this.#count = k;
  }

  #grow(): void {
    const size = 2 * this.#candidates.length;
    const candidates = new Float32Array(size);
    const keys = new Int32Array(size);
    candidates.set(this.#candidates);
    keys.set(this.#candidateKeys);
    this.#candidates = candidates;
    this.#candidateKeys = keys;
    this.#ranked = new Float32Array(size);
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
