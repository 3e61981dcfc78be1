import type { LinearAttentionRequest } from '../contract/linear-attention.js';
import { roundingTo, type ScorePrecision } from './attention-scores.js';
import type { Numbers } from './storage.js';

/** The tensors of a call as plain row-major arrays; shapes follow from the request. */
export interface LinearAttentionArrays {
  /** [B, Hq, Lq, F] */
  readonly queryFeatures: Numbers;
  /** [B, Hkv, Lk, F] */
  readonly keyFeatures: Numbers;
  /** [B, Hkv, Lk, Dv] */
  readonly value: Numbers;
  /** 1 = keep; shape `request.keyMask` */
  readonly keyMask?: Numbers;
  /** [B] */
  readonly keyLengths?: Numbers;
  /** [B, Hkv, Lk] */
  readonly keyLogScale?: Numbers;
  /** [B, Hkv, F, Dv] */
  readonly sumsBefore?: Numbers;
  /** [B, Hkv, F] */
  readonly totalBefore?: Numbers;
  /** [B, Hkv] */
  readonly logScaleBefore?: Numbers;
}

export interface ReferenceLinearAttentionResult {
  /** [B, Hq, Lq, Dv] */
  readonly output: Float64Array;
  /** [B, Hkv, F, Dv]: sums over all keys, earlier ones included, over exp(logScale). */
  readonly sums: Float64Array;
  /** [B, Hkv, F] */
  readonly total: Float64Array;
  /** [B, Hkv]; zeros without log scales. */
  readonly logScale: Float64Array;
  /** [B, Hq, Lq] */
  readonly denominators: Float64Array;
}

export type ReferenceLinearAttentionGradients = {
  readonly [Role in Exclude<keyof LinearAttentionArrays, 'keyMask' | 'keyLengths'>]-?: Float64Array;
};

/** A key with its features and value, as a place in the arrays; the state counts as one more key of its own kind. */
class KeyHead {
  readonly #request: LinearAttentionRequest;
  readonly #arrays: LinearAttentionArrays;
  /** Row in [B, Hkv]. */
  readonly row: number;
  readonly #batch: number;

  constructor(request: LinearAttentionRequest, arrays: LinearAttentionArrays, row: number) {
    this.#request = request;
    this.#arrays = arrays;
    this.row = row;
    this.#batch = Math.floor(row / request.keyHeads);
  }

  /** Keys that the query sees, in order; undefined for all queries. */
  *visible(query?: number): Generator<number> {
    const { keyLength, queryLength, causal, keyMask } = this.#request;
    const { keyLengths, keyMask: mask } = this.#arrays;
    const end = causal && query !== undefined ? query + keyLength - queryLength + 1 : keyLength;
    for (let key = 0; key < end; key++) {
      if (keyLengths !== undefined && key >= (keyLengths[this.#batch] as number)) continue;
      const maskRow = keyMask?.[0] === 1 ? 0 : this.#batch;
      if (mask !== undefined && mask[maskRow * keyLength + key] === 0) continue;
      if (this.logScale(key) === Number.NEGATIVE_INFINITY) continue;
      yield key;
    }
  }

  logScale(key: number): number {
    const { keyLogScale } = this.#arrays;
    return keyLogScale === undefined ? 0 : (keyLogScale[this.row * this.#request.keyLength + key] as number);
  }

  /** Log scale of the sums that the call began with. */
  get logScaleBefore(): number {
    const { keyLogScale, continues } = this.#request;
    if (!keyLogScale) return 0;
    return continues ? (this.#arrays.logScaleBefore?.[this.row] as number) : Number.NEGATIVE_INFINITY;
  }

  /** The largest log scale of some keys and of the sums before them; 0 if there are none. */
  peak(keys: Iterable<number>): number {
    let peak = this.logScaleBefore;
    for (const key of keys) peak = Math.max(peak, this.logScale(key));
    return peak === Number.NEGATIVE_INFINITY ? 0 : peak;
  }

  feature(key: number, f: number): number {
    const { keyLength, features } = this.#request;
    return this.#arrays.keyFeatures[(this.row * keyLength + key) * features + f] as number;
  }

  value(key: number, d: number): number {
    const { keyLength, valueDim } = this.#request;
    return this.#arrays.value[(this.row * keyLength + key) * valueDim + d] as number;
  }

  sumBefore(f: number, d: number): number {
    const { features, valueDim } = this.#request;
    return this.#arrays.sumsBefore?.[(this.row * features + f) * valueDim + d] ?? 0;
  }

  totalBefore(f: number): number {
    return this.#arrays.totalBefore?.[this.row * this.#request.features + f] ?? 0;
  }
}

interface Row {
  /** Row in [B, Hq, Lq]. */
  readonly row: number;
  readonly keys: KeyHead;
  readonly query: number;
}

function* rowsOf(request: LinearAttentionRequest, arrays: LinearAttentionArrays): Generator<Row> {
  const { batch, queryHeads, keyHeads, queryLength } = request;
  let row = 0;
  for (let head = 0; head < batch * queryHeads; head++) {
    const keys = new KeyHead(request, arrays, Math.floor((head * keyHeads) / queryHeads));
    for (let query = 0; query < queryLength; query++) yield { row: row++, keys, query };
  }
}

function divisorOf({ epsilon, leastDenominator }: LinearAttentionRequest, weights: number): number {
  const raised = weights + epsilon;
  return raised < leastDenominator ? leastDenominator : raised;
}

/** Weights of a row: of each visible key, and the features of the query that read the sums before, scaled alike. */
function weightsOf(
  { features }: LinearAttentionRequest,
  { queryFeatures }: LinearAttentionArrays,
  { row, keys, query }: Row,
  precision: ScorePrecision,
): { readonly keys: readonly number[]; readonly weights: readonly number[]; readonly earlier: number } {
  const round = roundingTo(precision);
  const visible = [...keys.visible(query)];
  const peak = keys.peak(visible);
  const weights = visible.map((key) => {
    let dot = 0;
    for (let f = 0; f < features; f++)
      dot += (queryFeatures[row * features + f] as number) * keys.feature(key, f);
    return Math.exp(keys.logScale(key) - peak) * round(dot);
  });
  return { keys: visible, weights, earlier: Math.exp(keys.logScaleBefore - peak) };
}

/**
 * Linear attention by its definition, one pair of query and key at a time, in f64. With `precision` 'f32' products of
 * features are rounded, so that they overflow as on engines.
 */
export function referenceLinearAttention(
  request: LinearAttentionRequest,
  arrays: LinearAttentionArrays,
  precision: ScorePrecision = 'f64',
): ReferenceLinearAttentionResult {
  const { batch, queryHeads, keyHeads, queryLength, features, valueDim, normalise } = request;
  const rows = batch * queryHeads * queryLength;
  const output = new Float64Array(rows * valueDim);
  const denominators = new Float64Array(rows);
  for (const at of rowsOf(request, arrays)) {
    const { keys, weights, earlier } = weightsOf(request, arrays, at, precision);
    const own = output.subarray(at.row * valueDim, (at.row + 1) * valueDim);
    let total = weights.reduce((sum, weight) => sum + weight, 0);
    keys.forEach((key, i) => {
      for (let d = 0; d < valueDim; d++) {
        own[d] = (own[d] as number) + (weights[i] as number) * at.keys.value(key, d);
      }
    });
    for (let f = 0; f < features; f++) {
      const factor = earlier * (arrays.queryFeatures[at.row * features + f] as number);
      total += factor * at.keys.totalBefore(f);
      for (let d = 0; d < valueDim; d++) own[d] = (own[d] as number) + factor * at.keys.sumBefore(f, d);
    }
    if (!normalise) continue;
    const divisor = divisorOf(request, total);
    denominators[at.row] = divisor;
    for (let d = 0; d < valueDim; d++) own[d] = divisor === 0 ? 0 : (own[d] as number) / divisor;
  }

  const sums = new Float64Array(batch * keyHeads * features * valueDim);
  const total = new Float64Array(batch * keyHeads * features);
  const logScale = new Float64Array(batch * keyHeads);
  for (let row = 0; row < batch * keyHeads; row++) {
    const keys = new KeyHead(request, arrays, row);
    const visible = [...keys.visible()];
    const peak = keys.peak(visible);
    logScale[row] = visible.reduce((most, key) => Math.max(most, keys.logScale(key)), keys.logScaleBefore);
    const earlier = Math.exp(keys.logScaleBefore - peak);
    for (let f = 0; f < features; f++) {
      const place = row * features + f;
      total[place] = earlier * keys.totalBefore(f);
      for (let d = 0; d < valueDim; d++) sums[place * valueDim + d] = earlier * keys.sumBefore(f, d);
      for (const key of visible) {
        const feature = Math.exp(keys.logScale(key) - peak) * keys.feature(key, f);
        total[place] = (total[place] as number) + feature;
        for (let d = 0; d < valueDim; d++) {
          const at = place * valueDim + d;
          sums[at] = (sums[at] as number) + feature * keys.value(key, d);
        }
      }
    }
  }
  return { output, sums, total, logScale, denominators };
}

/**
 * The gradients of `referenceLinearAttention`, one pair at a time. With D_i the divisor of row i, G_i = dOut_i / D_i and
 * h_i = -G_i . out_i, the gradient of weight w_ij is G_i . v_j + h_i; it goes on to phi(q_i), phi(k_j) and the log scale.
 * The largest log scale of a row is a constant: it cancels.
 */
export function referenceLinearAttentionBackward(
  request: LinearAttentionRequest,
  arrays: LinearAttentionArrays,
  dOutput: Numbers,
  precision: ScorePrecision = 'f64',
): ReferenceLinearAttentionGradients {
  const { features, valueDim, keyLength, normalise, leastDenominator } = request;
  const zeros = (of: Numbers | undefined): Float64Array => new Float64Array(of?.length ?? 0);
  const made = {
    queryFeatures: zeros(arrays.queryFeatures),
    keyFeatures: zeros(arrays.keyFeatures),
    value: zeros(arrays.value),
    keyLogScale: zeros(arrays.keyLogScale),
    sumsBefore: zeros(arrays.sumsBefore),
    totalBefore: zeros(arrays.totalBefore),
    logScaleBefore: zeros(arrays.logScaleBefore),
  };
  const add = (of: Float64Array, place: number, value: number): void => {
    if (of.length > 0) of[place] = (of[place] as number) + value;
  };
  const { output, denominators } = referenceLinearAttention(request, arrays, precision);
  for (const at of rowsOf(request, arrays)) {
    const { row, keys: head } = at;
    const divisor = normalise ? (denominators[row] as number) : 1;
    if (divisor === 0) continue;
    const isFinite = Number.isFinite(divisor);
    const g = Float64Array.from({ length: valueDim }, (_, d) =>
      isFinite ? (dOutput[row * valueDim + d] as number) / divisor : Number.NaN,
    );
    const isConstant = !normalise || divisor <= leastDenominator;
    const h = isConstant
      ? 0
      : -g.reduce((sum, one, d) => sum + one * (output[row * valueDim + d] as number), 0);
    const { keys, weights, earlier } = weightsOf(request, arrays, at, precision);
    const peak = head.peak(keys);
    keys.forEach((key, i) => {
      const weight = weights[i] as number;
      let dWeight = h;
      for (let d = 0; d < valueDim; d++) {
        dWeight += (g[d] as number) * head.value(key, d);
        add(made.value, (head.row * keyLength + key) * valueDim + d, weight * (g[d] as number));
      }
      const factor = Math.exp(head.logScale(key) - peak) * dWeight;
      for (let f = 0; f < features; f++) {
        const q = arrays.queryFeatures[row * features + f] as number;
        add(made.queryFeatures, row * features + f, factor * head.feature(key, f));
        add(made.keyFeatures, (head.row * keyLength + key) * features + f, factor * q);
      }
      add(made.keyLogScale, head.row * keyLength + key, weight * dWeight);
    });
    for (let f = 0; f < features; f++) {
      const q = arrays.queryFeatures[row * features + f] as number;
      let dFeature = h * head.totalBefore(f);
      for (let d = 0; d < valueDim; d++) {
        dFeature += (g[d] as number) * head.sumBefore(f, d);
        add(made.sumsBefore, (head.row * features + f) * valueDim + d, earlier * q * (g[d] as number));
      }
      add(made.totalBefore, head.row * features + f, earlier * q * h);
      add(made.queryFeatures, row * features + f, earlier * dFeature);
      add(made.logScaleBefore, head.row, earlier * q * dFeature);
    }
  }
  return made;
}
