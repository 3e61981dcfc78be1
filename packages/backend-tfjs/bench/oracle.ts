import type { Pass } from './options.js';
import type { Arrays } from './setup.js';

/** What is compared with float64, as read back from the engine: whole tensors. */
export interface Results {
  readonly output?: ArrayLike<number>;
  readonly q?: ArrayLike<number>;
  readonly k?: ArrayLike<number>;
  readonly v?: ArrayLike<number>;
}

interface Row {
  readonly keys: Uint32Array;
  readonly weights: Float64Array;
}

const TOLERANCE = 1e-4;
/** The head whose rows are compared. */
const headOf = (heads: number): number => heads >> 1;

/** The k largest scores of a row (all for undefined) and their softmax, in float64. */
function weightsOf({ setup, q, k }: Arrays, head: number, query: number, kept: number | undefined): Row {
  const { length, queries, dim } = setup;
  const scale = dim ** -0.5;
  const scores = new Float64Array(length);
  const own = (head * queries + query) * dim;
  for (let key = 0; key < length; key++) {
    const from = (head * length + key) * dim;
    let sum = 0;
    for (let at = 0; at < dim; at++) sum += (q[own + at] as number) * (k[from + at] as number);
    scores[key] = sum * scale;
  }
  const all = Uint32Array.from(scores, (_, key) => key);
  const keys =
    kept === undefined
      ? all
      : all.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b).subarray(0, kept);
  const largest = keys.reduce((most, key) => Math.max(most, scores[key] as number), -Infinity);
  const powers = Float64Array.from(keys, (key) => Math.exp((scores[key] as number) - largest));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return { keys, weights: powers.map((power) => power / total) };
}

/** Largest error against float64, beside the largest value; throws above the tolerance. */
export function checkResults(
  name: string,
  pass: Pass,
  arrays: Arrays,
  results: Results,
  kept: number | undefined,
): number {
  const worst =
    pass === 'forward' ? checkForward(arrays, results, kept) : checkBackward(arrays, results, kept);
  if (!(worst < TOLERANCE)) throw new Error(`${name} (${pass}): wrong result, off by ${worst} from float64`);
  return worst;
}

function checkForward(arrays: Arrays, { output }: Results, kept: number | undefined): number {
  const { length, queries, heads, dim } = arrays.setup;
  const error = new Worst();
  for (const [head, query] of [
    [0, 0],
    [headOf(heads), queries >> 1],
    [heads - 1, queries - 1],
  ] as const) {
    const { keys, weights } = weightsOf(arrays, head, query, kept);
    for (let at = 0; at < dim; at++) {
      const expected = weights.reduce(
        (sum, weight, slot) =>
          sum + weight * (arrays.v[(head * length + (keys[slot] as number)) * dim + at] as number),
        0,
      );
      error.add(output?.[(head * queries + query) * dim + at], expected);
    }
  }
  return error.relative;
}

/** All queries and all keys of one head. */
function checkBackward(arrays: Arrays, results: Results, kept: number | undefined): number {
  const { length, queries, heads, dim } = arrays.setup;
  const head = headOf(heads);
  const keyRow = (key: number): number => (head * length + key) * dim;
  const [dQ, dK, dV] = [queries, length, length].map((rows) => new Float64Array(rows * dim)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  for (let query = 0; query < queries; query++) {
    const { keys, weights } = weightsOf(arrays, head, query, kept);
    const own = (head * queries + query) * dim;
    const dWeights = Float64Array.from(keys, (key) => {
      let sum = 0;
      for (let at = 0; at < dim; at++)
        sum += (arrays.dOutput[own + at] as number) * (arrays.v[keyRow(key) + at] as number);
      return sum;
    });
    const mean = weights.reduce((sum, weight, slot) => sum + weight * (dWeights[slot] as number), 0);
    for (const [slot, key] of keys.entries()) {
      const weight = weights[slot] as number;
      const dProduct = weight * ((dWeights[slot] as number) - mean) * dim ** -0.5;
      for (let at = 0; at < dim; at++) {
        dQ[query * dim + at] =
          (dQ[query * dim + at] as number) + dProduct * (arrays.k[keyRow(key) + at] as number);
        dK[key * dim + at] = (dK[key * dim + at] as number) + dProduct * (arrays.q[own + at] as number);
        dV[key * dim + at] = (dV[key * dim + at] as number) + weight * (arrays.dOutput[own + at] as number);
      }
    }
  }
  const errorOf = (expected: Float64Array, got: ArrayLike<number> | undefined, first: number): number => {
    const error = new Worst();
    for (const [at, value] of expected.entries()) error.add(got?.[first + at], value);
    return error.relative;
  };
  return Math.max(
    errorOf(dQ, results.q, head * queries * dim),
    errorOf(dK, results.k, keyRow(0)),
    errorOf(dV, results.v, keyRow(0)),
  );
}

/** Largest difference beside the largest value that was expected. */
class Worst {
  #difference = 0;
  #largest = 0;

  add(got: number | undefined, expected: number): void {
    // NaN, and what is not there, must not pass for small.
    const difference = Math.abs((got ?? Number.NaN) - expected);
    if (!(difference <= this.#difference)) this.#difference = difference;
    this.#largest = Math.max(this.#largest, Math.abs(expected));
  }

  get relative(): number {
    return this.#difference / this.#largest;
  }
}
