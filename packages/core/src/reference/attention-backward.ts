import type { AttentionRequest } from '../contract/attention.js';
import { queryPositions } from './attention.js';
import {
  type AttentionArrays,
  broadcastOffset,
  dropoutFactors,
  keyHeadOf,
  relativeBucket,
  type ScorePrecision,
  selectKeys,
  weightsOf,
} from './attention-scores.js';
import type { Numbers } from './storage.js';

export interface ReferenceAttentionGradients {
  /** [B, Hq, Lq, D] */
  readonly q: Float64Array;
  /** [B, Hkv, Lk, D] */
  readonly k: Float64Array;
  /** [B, Hkv, Lk, Dv] */
  readonly v: Float64Array;
  /** The bias's own shape; empty without one. */
  readonly bias: Float64Array;
  /** [buckets, Hq]; empty without one. */
  readonly relativeTable: Float64Array;
}

/**
 * The gradients of `referenceAttention`, paper section 1.6, for one kept key j of one query at a time:
 *
 *     dV_j += P_j m_j G                                   m = dropout factors
 *     dP_j  = m_j (G . V_j)
 *     dS_j  = P_j (dP_j - sum over kept j' of P_j' dP_j')
 *     dQ   += scale dS_j K_j,   dK_j += scale dS_j Q,   dBias += dS_j
 *
 * The selection is a constant: no gradient flows through the choice of keys, and none reaches a key that was not
 * kept. With sigmoids in place of softmax, dS_j = P_j (1 - P_j) dP_j. A row whose scores hold a NaN has NaN gradients in
 * its query and in every key that was valid for it.
 */
export function referenceAttentionBackward(
  request: AttentionRequest,
  arrays: AttentionArrays,
  dOutput: Numbers,
  precision: ScorePrecision = 'f64',
): ReferenceAttentionGradients {
  const { headDim, keyHeads, keyLength, queryHeads, scale, valueDim } = request;
  const dq = new Float64Array(arrays.q.length);
  const dk = new Float64Array(arrays.k.length);
  const dv = new Float64Array(arrays.v.length);
  const dBias = new Float64Array(arrays.bias?.length ?? 0);
  const dTable = new Float64Array(arrays.relativeTable?.length ?? 0);
  const add = (array: Float64Array, position: number, amount: number): void => {
    array[position] = (array[position] as number) + amount;
  };

  for (const at of queryPositions(request)) {
    const { keys, scores, hasNaN } = selectKeys(request, arrays, at, precision);
    const weights = hasNaN ? scores.map(() => Number.NaN) : weightsOf(request, scores);
    const factors = dropoutFactors(request, at, keys);
    const keyHead = at.batch * keyHeads + keyHeadOf(request, at.head);
    const outputStart = at.row * valueDim;

    const dWeights = keys.map((key, slot) => {
      const valueStart = (keyHead * keyLength + key) * valueDim;
      const factor = factors[slot] as number;
      let dot = 0;
      for (let d = 0; d < valueDim; d++) {
        const gradient = dOutput[outputStart + d] as number;
        add(dv, valueStart + d, (weights[slot] as number) * factor * gradient);
        dot += gradient * (arrays.v[valueStart + d] as number);
      }
      return factor * dot;
    });
    const mean = dWeights.reduce((sum, dWeight, slot) => sum + (weights[slot] as number) * dWeight, 0);

    keys.forEach((key, slot) => {
      const weight = weights[slot] as number;
      const dWeight = dWeights[slot] as number;
      const dScore =
        request.sigmoidShift === undefined ? weight * (dWeight - mean) : weight * (1 - weight) * dWeight;
      const qStart = at.row * headDim;
      const kStart = (keyHead * keyLength + key) * headDim;
      for (let d = 0; d < headDim; d++) {
        add(dq, qStart + d, scale * dScore * (arrays.k[kStart + d] as number));
        add(dk, kStart + d, scale * dScore * (arrays.q[qStart + d] as number));
      }
      if (request.bias !== undefined) {
        add(dBias, broadcastOffset(request.bias, at.batch, at.head, at.query, key), dScore);
      }
      if (request.relativeBias !== undefined) {
        add(dTable, relativeBucket(request, at.query, key) * queryHeads + at.head, dScore);
      }
    });
  }
  return { q: dq, k: dk, v: dv, bias: dBias, relativeTable: dTable };
}
