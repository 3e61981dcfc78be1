/** Rows of attention in f64, one head at a time. */
export interface HeadArrays {
  /** [L, D] */
  readonly k: ArrayLike<number>;
  /** [L, Dv] */
  readonly v: ArrayLike<number>;
  readonly keys: number;
  readonly dim: number;
  readonly valueDim: number;
}

export interface ExactRow {
  /** Scores of all visible keys. */
  readonly scores: Float64Array;
  /** Ascending. */
  readonly kept: readonly number[];
  /** The k-th largest score. */
  readonly threshold: number;
  readonly weights: Float64Array;
  readonly output: Float64Array;
}

/** Softmax over the k largest of the first `visible` keys, times V; `k` undefined for all keys. */
export function exactRow(
  head: HeadArrays,
  query: ArrayLike<number>,
  visible: number,
  k: number | undefined,
): ExactRow {
  const { dim, valueDim } = head;
  const scale = dim ** -0.5;
  const scores = new Float64Array(visible);
  for (let key = 0; key < visible; key++) {
    let sum = 0;
    for (let d = 0; d < dim; d++) sum += (query[d] as number) * (head.k[key * dim + d] as number);
    scores[key] = sum * scale;
  }
  const sorted = Float64Array.from(scores).sort();
  const count = Math.min(k ?? visible, visible);
  const threshold = sorted[visible - count] as number;
  let ties = count;
  for (const score of scores) if (score > threshold) ties--;
  const kept: number[] = [];
  scores.forEach((score, key) => {
    if (score > threshold || (score === threshold && ties-- > 0)) kept.push(key);
  });
  return {
    scores,
    kept,
    threshold,
    ...weighted(head, kept, scores, sorted[visible - 1] as number, valueDim),
  };
}

function weighted(
  { v }: HeadArrays,
  kept: readonly number[],
  scores: Float64Array,
  largest: number,
  valueDim: number,
): { weights: Float64Array; output: Float64Array } {
  const weights = Float64Array.from(kept, (key) => Math.exp((scores[key] as number) - largest));
  const total = weights.reduce((a, b) => a + b, 0);
  const output = new Float64Array(valueDim);
  kept.forEach((key, slot) => {
    const weight = (weights[slot] as number) / total;
    weights[slot] = weight;
    for (let d = 0; d < valueDim; d++)
      output[d] = (output[d] as number) + weight * (v[key * valueDim + d] as number);
  });
  return { weights, output };
}

/** |got - expected| / |expected| in the 2-norm, summed over calls. */
export class RelativeError {
  #difference = 0;
  #norm = 0;

  add(got: ArrayLike<number>, expected: ArrayLike<number>): void {
    for (let at = 0; at < expected.length; at++) {
      const difference = (got[at] as number) - (expected[at] as number);
      // A NaN must not get lost.
      this.#difference += Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference ** 2;
      this.#norm += (expected[at] as number) ** 2;
    }
  }

  get value(): number {
    return Math.sqrt(this.#difference / Math.max(this.#norm, Number.MIN_VALUE));
  }
}

/** How two f32 computations of one score may differ, relative to the sizes of its factors. */
const SCORE_SLACK = 2e-6;

/**
 * Whether a set of kept keys is right: every key in the difference to the f64 set has an f64 score within rounding of
 * the k-th largest.
 */
export function isRightSet(row: ExactRow, kept: readonly number[], size: number): boolean {
  if (kept.length !== row.kept.length) return false;
  const expected = new Set(row.kept);
  const got = new Set(kept);
  const slack = SCORE_SLACK * size;
  const isNear = (key: number): boolean => Math.abs((row.scores[key] as number) - row.threshold) <= slack;
  return [...row.kept.filter((key) => !got.has(key)), ...kept.filter((key) => !expected.has(key))].every(
    isNear,
  );
}
