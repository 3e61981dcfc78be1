import {
  aNumber,
  cast,
  mul,
  type OptionKinds,
  readOptions,
  rsqrt,
  scope,
  type Tensor,
} from '@topk-attention/core';
import type { Mechanism, MechanismCall } from '@topk-attention/nn';
import { keyCounts, requireWhole, shown } from './inputs.js';
import { type LinearResult, linearAttention } from './linear.js';
import { noPairs, notSoftmax } from './refusals.js';

export interface SimpleTronOptions {
  /** Tokens per chunk of causal sums. Default 128. */
  readonly chunk?: number;
}

const kinds: OptionKinds<SimpleTronOptions> = { chunk: aNumber };

/**
 * SimpleTRON (Yorsh et al., 2021): Q (K^T V) / sqrt(n), without softmax or a denominator. n is the number of keys that
 * the query sees, so that a causal row is scaled by its own length, which the paper leaves open. Nothing is estimated.
 * The product is cubic in the input: put a norm around it. Dropout is that of the rows of K^T V.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: simpleTron() });
 */
export function simpleTron(options?: SimpleTronOptions): Mechanism {
  const { chunk = 128 } = readOptions('simpleTron', options, kinds);
  requireWhole('simpleTron', 'chunk', chunk, 1);

  const made = (call: MechanismCall, before: number, state?: Tensor): LinearResult => {
    const { causal = false, dropout, scale = 1 } = call.options;
    const sums = linearAttention(
      { query: cast(call.query, 'f32'), key: shown(call, call.key), value: shown(call, call.value) },
      { causal, chunk, normalise: false, ...(dropout && { dropout }), ...(state && { state }) },
    );
    const output = mul(mul(sums.output, rsqrt(keyCounts(call, before))), scale);
    return { output: cast(output, call.value.dtype), state: sums.state };
  };

  return {
    name: 'simpletron',
    takes: ['causal', 'keyLengths', 'dropout', 'groupedHeads', 'decoding'],
    refusals: { ...noPairs, zeroShot: notSoftmax },
    attend: (call) => scope(() => made(call, 0).output),
    step: (call, state) =>
      scope(() => {
        const before = state?.length ?? 0;
        const causal = { ...call, options: { ...call.options, causal: true } };
        const { output, state: sums } = made(causal, before, state?.tensors.sums);
        return { output, state: { length: before + (call.key.shape[2] as number), tensors: { sums } } };
      }),
  };
}
