import { aNumber, concat, type OptionKinds, readOptions, required, scope } from '@topk-attention/core';
import { type AttentionChoice, attendHeads } from '../layers/attend-heads.js';
import { requireWhole } from '../require.js';
import type { Mechanism } from './mechanism.js';

export interface TopKOptions {
  /** Keys that each query and head keeps. */
  readonly k: number;
}

const kinds: OptionKinds<TopKOptions> = { k: required(aNumber) };

/** Softmax attention over all keys, in query chunks. */
export function exact(): Mechanism {
  return keeping('exact', 'exact');
}

/**
 * Softmax attention in which every query keeps its k largest scores.
 *
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: topK({ k: 16 }) });
 */
export function topK(options: TopKOptions): Mechanism {
  const { k } = readOptions('topK', options, kinds);
  requireWhole('topK', 'k', k, 1);
  return keeping('top-k', { k });
}

function keeping(name: string, choice: AttentionChoice): Mechanism {
  return {
    name,
    takes: ['causal', 'keyLengths', 'mask', 'bias', 'relativeBias', 'dropout', 'groupedHeads', 'decoding'],
    attend: (call) => attendHeads(call.context, call.path, choice, call, call.options),
    step: (call, state) =>
      scope(() => {
        const { keys, values } = state?.tensors ?? {};
        const key = keys === undefined ? call.key.alias() : concat([keys, call.key], 2);
        const value = values === undefined ? call.value.alias() : concat([values, call.value], 2);
        const options = { ...call.options, causal: true };
        return {
          output: attendHeads(call.context, call.path, choice, { ...call, key, value }, options),
          state: { length: key.shape[2] as number, tensors: { keys: key, values: value } },
        };
      }),
  };
}
