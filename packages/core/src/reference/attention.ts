import type { AttentionRequest } from '../contract/attention.js';
import {
  type AttentionArrays,
  dropoutFactors,
  keyHeadOf,
  type QueryPosition,
  type ScorePrecision,
  selectKeys,
  weightsOf,
} from './attention-scores.js';

export interface ReferenceAttentionResult {
  /** [B, Hq, Lq, Dv] */
  readonly output: Float64Array;
  /** [B, Hq, Lq, k]: kept keys ascending, then -1; [0] for exact attention. */
  readonly indices: Int32Array;
  /** [B, Hq, Lq, k]: their scores, then -inf; NaN in rows with a NaN score; [0] for exact attention. */
  readonly scores: Float64Array;
}

/** All queries, in the order of their rows in [B, Hq, Lq, ...]. */
export function* queryPositions(
  request: AttentionRequest,
): Generator<QueryPosition & { readonly row: number }> {
  let row = 0;
  for (let batch = 0; batch < request.batch; batch++) {
    for (let head = 0; head < request.queryHeads; head++) {
      for (let query = 0; query < request.queryLength; query++) yield { batch, head, query, row: row++ };
    }
  }
}

/**
 * Top-k attention as the paper's section 1.2 defines it, one query at a time, in f64. Written independently of
 * core's composed version (no chunks, no tensors, a sort instead of a threshold), so it can serve as its oracle. Exact
 * attention is the same with all valid keys kept. With `precision` 'f32' scores are rounded as engines round them.
 *
 * Memory: the outputs, and one row of scores.
 */
export function referenceAttention(
  request: AttentionRequest,
  arrays: AttentionArrays,
  precision: ScorePrecision = 'f64',
): ReferenceAttentionResult {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, valueDim } = request;
  const slots = request.k === 'all' ? 0 : request.k;
  const rows = batch * queryHeads * queryLength;
  const output = new Float64Array(rows * valueDim);
  const indices = new Int32Array(rows * slots).fill(-1);
  const savedScores = new Float64Array(rows * slots).fill(Number.NEGATIVE_INFINITY);

  for (const at of queryPositions(request)) {
    const { keys, scores, hasNaN } = selectKeys(request, arrays, at, precision);
    if (hasNaN) {
      output.fill(Number.NaN, at.row * valueDim, (at.row + 1) * valueDim);
      savedScores.fill(Number.NaN, at.row * slots, (at.row + 1) * slots);
      continue;
    }
    const weights = weightsOf(request, scores);
    const factors = dropoutFactors(request, at, keys);
    const valueStart = (at.batch * keyHeads + keyHeadOf(request, at.head)) * keyLength * valueDim;
    keys.forEach((key, slot) => {
      const weight = (weights[slot] as number) * (factors[slot] as number);
      for (let d = 0; d < valueDim; d++) {
        const position = at.row * valueDim + d;
        output[position] =
          (output[position] as number) + weight * (arrays.v[valueStart + key * valueDim + d] as number);
      }
      if (request.k !== 'all') {
        indices[at.row * slots + slot] = key;
        savedScores[at.row * slots + slot] = scores[slot] as number;
      }
    });
  }
  return { output, indices, scores: savedScores };
}
