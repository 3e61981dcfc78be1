import type { AttentionRequest } from '@topk-attention/core/backend';
import type { KeptRows } from './kept-rows.js';

/** Applies the scale to kept scores that were chosen without it. */
export function scaleKept({ scores }: KeptRows, scale: number): void {
  if (scale === 1) return;
  for (let slot = 0; slot < scores.length; slot++) scores[slot] = (scores[slot] as number) * scale;
}

/**
 * Softmax of the kept scores of each row, [rows * k]: zeros where nothing is kept, NaN throughout where a score is NaN
 * or +inf.
 */
export function weightsOf({ k, scores }: Pick<KeptRows, 'k' | 'scores'>): Float32Array {
  const weights = new Float32Array(scores.length);
  for (let first = 0; first < scores.length; first += k) {
    let largest = Number.NEGATIVE_INFINITY;
    // Math.max keeps a NaN.
    for (let slot = first; slot < first + k; slot++) largest = Math.max(largest, scores[slot] as number);
    if (largest === Number.NEGATIVE_INFINITY) continue;
    let total = 0;
    for (let slot = first; slot < first + k; slot++) {
      const power = Math.exp((scores[slot] as number) - largest);
      weights[slot] = power;
      total += power;
    }
    for (let slot = first; slot < first + k; slot++) weights[slot] = (weights[slot] as number) / total;
  }
  return weights;
}

/**
 * Weighted sums [rows, Dv] of the value rows of the kept keys; no other value row is read. `values` is [pairs, Lk, Dv],
 * and `rowsPerPair` rows share a pair of batch entry and key head.
 */
export function productOfKept(
  { k, keys }: KeptRows,
  weights: Float32Array,
  values: Float32Array,
  { keyLength, valueDim }: Pick<AttentionRequest, 'keyLength' | 'valueDim'>,
  rowsPerPair: number,
): Float32Array {
  const rows = keys.length / k;
  const output = new Float32Array(rows * valueDim);
  const sums = new Float64Array(valueDim);
  for (let row = 0; row < rows; row++) {
    const base = Math.floor(row / rowsPerPair) * keyLength;
    sums.fill(0);
    for (let slot = row * k; slot < row * k + k; slot++) {
      const key = keys[slot] as number;
      const weight = weights[slot] as number;
      if (key < 0) {
        // Used slots come first. The remaining weights are 0, or all weights are NaN.
        if (Number.isNaN(weight)) sums.fill(Number.NaN);
        break;
      }
      const first = (base + key) * valueDim;
      for (let d = 0; d < valueDim; d++) {
        sums[d] = (sums[d] as number) + weight * (values[first + d] as number);
      }
    }
    output.set(sums, row * valueDim);
  }
  return output;
}
