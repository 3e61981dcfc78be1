import {
  type AttentionInputs,
  type AttentionOutputs,
  type AttentionRequest,
  type Backend,
  type FusedOperation,
  groupSize,
  queryStartOf,
} from '@topk-attention/core/backend';
import type { ArrayTensor } from './array-backend.js';

/** Exact attention as one loop over queries, which keeps one row of scores at a time. */
export function withFusedAttention(backend: Backend<ArrayTensor>): Backend<ArrayTensor> {
  const attention: FusedOperation<
    AttentionRequest,
    AttentionInputs<ArrayTensor>,
    AttentionOutputs<ArrayTensor>
  > = {
    prepare(request) {
      const refusals = reasonsAgainst(request);
      if (refusals.length > 0) return { refusals };
      const { batch, queryHeads, queryLength, keyLength, valueDim } = request;
      return {
        describe: () => ({ variant: 'one row of scores at a time' }),

        scratchBytes: () => 8 * (keyLength + valueDim),

        run({ q, k, v }) {
          const shape = [batch, queryHeads, queryLength, valueDim];
          const output = new Float32Array(shape.reduce((size, extent) => size * extent, 1));
          for (let row = 0; row * valueDim < output.length; row++) {
            output.set(attendRow(request, row, q.data, k.data, v.data), row * valueDim);
          }
          return { output: backend.upload(output, shape, 'f32') };
        },
      };
    },
  };
  return { ...backend, fused: { attention } };
}

function reasonsAgainst(request: AttentionRequest): string[] {
  const { k, mask, keyLengths, bias, relativeBias, dropout, sigmoidShift } = request;
  const reasons: string[] = [];
  if (k !== 'all') reasons.push('it has no selection');
  if (mask !== undefined || keyLengths) reasons.push('it knows causal masks only');
  if (bias !== undefined || relativeBias !== undefined) reasons.push('it adds no biases');
  if (dropout !== undefined) reasons.push('it has no dropout');
  if (sigmoidShift !== undefined) reasons.push('its weights are softmax');
  return reasons;
}

type Numbers = ArrayTensor['data'];

/** The output of one query; `row` counts over batches, heads and queries. */
function attendRow(request: AttentionRequest, row: number, q: Numbers, k: Numbers, v: Numbers): Float64Array {
  const { queryLength, keyLength, headDim, valueDim, scale, causal } = request;
  const query = row % queryLength;
  const head = Math.floor(row / queryLength);
  // Consecutive query heads share a key head, also from batch to batch.
  const firstKey = Math.floor(head / groupSize(request)) * keyLength;
  const reach = causal ? query + 1 + queryStartOf(request) : keyLength;
  const visible = Math.max(0, Math.min(reach, keyLength));
  const scores = Float64Array.from({ length: visible }, (_, j) => {
    let dot = 0;
    for (let d = 0; d < headDim; d++) {
      dot += (q[row * headDim + d] as number) * (k[(firstKey + j) * headDim + d] as number);
    }
    return Math.fround(scale * dot);
  });
  // A score of -inf is no valid key: its value row is not read, whatever it holds.
  const valid = Array.from(scores.keys()).filter((j) => scores[j] !== Number.NEGATIVE_INFINITY);
  const largest = Math.max(...valid.map((j) => scores[j] as number));
  const out = new Float64Array(valueDim);
  let total = 0;
  for (const j of valid) {
    const weight = Math.exp((scores[j] as number) - largest);
    total += weight;
    for (let d = 0; d < valueDim; d++) {
      out[d] = (out[d] as number) + weight * (v[(firstKey + j) * valueDim + d] as number);
    }
  }
  return valid.length === 0 ? out : out.map((sum) => sum / total);
}
