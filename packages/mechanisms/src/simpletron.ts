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
import { keyCounts, requireWhole } from './inputs.js';
import { attendLinearly, type Features, type LinearSettings, stepLinearly } from './linear.js';
import { noPairs, notSoftmax } from './refusals.js';

export interface SimpleTronOptions {
  /** Tokens per chunk of the sums. Default: planned. */
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
  const { chunk } = readOptions('simpleTron', options, kinds);
  if (chunk !== undefined) requireWhole('simpleTron', 'chunk', chunk, 1);

  const settingsOf = ({ options: { dropout } }: MechanismCall): LinearSettings => ({
    ...{ normalise: false, ...(chunk !== undefined && { chunk }) },
    ...(dropout && { dropout }),
  });
  const featuresOf = ({ query, key }: MechanismCall): Features => ({
    query: cast(query, 'f32'),
    key: cast(key, 'f32'),
  });
  const scaled = (call: MechanismCall, sums: Tensor, before: number): Tensor => {
    const output = mul(mul(sums, rsqrt(keyCounts(call, before))), call.options.scale ?? 1);
    return cast(output, call.value.dtype);
  };

  return {
    name: 'simpletron',
    takes: ['causal', 'keyLengths', 'dropout', 'groupedHeads', 'decoding'],
    refusals: { ...noPairs, zeroShot: notSoftmax },
    attend: (call) => scope(() => scaled(call, attendLinearly(call, featuresOf(call), settingsOf(call)), 0)),
    step: (call, state) =>
      scope(() => {
        const causal = { ...call, options: { ...call.options, causal: true } };
        const { output, state: next } = stepLinearly(causal, state, featuresOf(call), settingsOf(call));
        return { output: scaled(causal, output, state?.length ?? 0), state: next };
      }),
  };
}
