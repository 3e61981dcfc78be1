import {
  type AttentionOptions,
  aValue,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  TopKError,
} from '@topk-attention/core';
import { attentionKinds } from '@topk-attention/core/backend';
import {
  type AttentionFunction,
  contextOf,
  type Mechanism,
  type MechanismAbility,
  type ParameterTree,
} from '@topk-attention/nn';
import { requireNumber } from './inputs.js';

export interface AttentionFunctionOptions {
  /** What the model's weights were trained with: softmax, or the mechanism itself. */
  readonly trainedWith: 'softmax' | 'mechanism';
  /** The mechanism's own parameters, by the names that it declares. Default: none. */
  readonly parameters?: ParameterTree;
}

const kinds: OptionKinds<AttentionFunctionOptions> = {
  trainedWith: required(oneOf('softmax', 'mechanism')),
  parameters: aValue('an object of tensors', (value) => typeof value === 'object' && value !== null),
};

/**
 * A mechanism as the `attention` or `crossAttention` of a model that takes a function, such as T5, whose own attention has
 * relative biases. In a model whose weights were trained with
 * softmax it is refused unless it computes or estimates softmax, as `exact()`, `topK({ k })` and `performer()` do. A call's
 * `budgetBytes` is that of a run: the mechanism heeds it as in a layer. It plans its chunks itself, so there is no
 * `queryChunk`.
 *
 * @throws TopKError INVALID_OPTION; UNSUPPORTED with the reason, at once for such a model and for tied keys, and when called
 * for what the mechanism does not take; DOES_NOT_FIT as the mechanism in a layer.
 *
 * @example
 * const attention = attentionFunctionOf(topK({ k: 16 }), { trainedWith: 'softmax' });
 */
export function attentionFunctionOf(
  mechanism: Mechanism,
  options: AttentionFunctionOptions,
): AttentionFunction {
  const { trainedWith, parameters = {} } = readOptions('attentionFunctionOf', options, kinds);
  const { name, takes, refusals, self } = mechanism;
  const refusal = (what: string, expected: string, reason?: string): TopKError =>
    new TopKError('UNSUPPORTED', `attentionFunctionOf: ${name} attention ${what}`, {
      expected,
      got: name,
      ...(reason !== undefined && { fix: reason }),
    });
  if (trainedWith === 'softmax' && refusals?.zeroShot !== undefined) {
    throw refusal(
      'does not fit weights trained with softmax',
      'exact, top-k or performer',
      refusals.zeroShot,
    );
  }
  if (self !== undefined) throw refusal('is for self-attention layers of nn', 'any source', refusals?.source);
  return (query, key, value, called) => {
    const { queryChunk, budgetBytes, ...asked } = readOptions('attentionFunctionOf', called, attentionKinds);
    if (queryChunk !== undefined) {
      throw refusal(
        'takes no queryChunk',
        'budgetBytes',
        'A mechanism plans its chunks itself, within a budget',
      );
    }
    if (budgetBytes !== undefined && budgetBytes !== Number.POSITIVE_INFINITY) {
      requireNumber('attentionFunctionOf', 'budgetBytes', budgetBytes, 'positive');
    }
    const last = (key.shape[2] as number) - (query.shape[2] as number);
    // Those that compute softmax of all scores know positions of queries.
    if (!takes.includes('relativeBias') && (asked.queryStart ?? last) !== last) {
      throw refusal('takes no queryStart', 'the last query at the last key');
    }
    for (const [ability, given] of Object.entries(asksFor(asked, query.shape[1] !== key.shape[1]))) {
      if (given === undefined || given === false || takes.includes(ability as MechanismAbility)) continue;
      throw refusal(`takes no ${ability}`, takes.join(', '), refusals?.[ability as MechanismAbility]);
    }
    const context = contextOf(parameters, {
      training: false,
      ...(budgetBytes !== undefined && { budgetBytes }),
    });
    return mechanism.attend({ context, path: 'attention', query, key, value, options: asked });
  };
}

function asksFor(
  { causal, keyLengths, mask, bias, relativeBias, dropout }: AttentionOptions,
  groupedHeads: boolean,
): { readonly [ability in MechanismAbility]?: unknown } {
  return { causal, keyLengths, mask, bias, relativeBias, dropout, groupedHeads };
}
