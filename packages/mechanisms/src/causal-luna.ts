import {
  aNumber,
  cast,
  div,
  linearAttention,
  mul,
  type OptionKinds,
  readOptions,
  scope,
  softmax,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { initializers, type Mechanism, type MechanismCall, parameterOf } from '@topk-attention/nn';
import { perHead } from './features.js';
import { keyCounts, requireWhole, shown } from './inputs.js';
import { noPairs, notSoftmax } from './refusals.js';
import { softplus } from './softplus.js';

export interface CausalLunaOptions {
  /** Vectors of the memory. Default 16. */
  readonly memory?: number;
  /** Tokens per chunk of the sums. Default: planned. */
  readonly chunk?: number;
}

const kinds: OptionKinds<CausalLunaOptions> = { memory: aNumber, chunk: aNumber };

/**
 * Luna's causal attention (Ma et al., 2021): each token has a weight for every vector of the memory,
 * omega = log2(1 + 2^(p . k / sqrt(d))); a query compares itself with the means of k omega^T up to its place, and the softmax
 * over the memory weighs the means of omega v^T. Linear in the length, with a constant state. The memory is not updated:
 * parameter `memory` [heads, l, headDim], its queries.
 *
 * @throws TopKError INVALID_OPTION; when applied, UNSUPPORTED in a layer that is not causal.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, causal: true, mechanism: causalLuna({ memory: 8 }) });
 */
export function causalLuna(options?: CausalLunaOptions): Mechanism {
  const { memory = 16, chunk } = readOptions('causalLuna', options, kinds);
  requireWhole('causalLuna', 'memory', memory, 1);
  if (chunk !== undefined) requireWhole('causalLuna', 'chunk', chunk, 1);

  const attended = (
    call: MechanismCall,
    before: number,
    sums: (name: 'scores' | 'values', query: Tensor, key: Tensor, value: Tensor) => Tensor,
  ): Tensor => {
    if (call.options.causal !== true) throw notCausal();
    const scale = call.options.scale ?? (call.query.shape[3] as number) ** -0.5;
    // Hidden keys may be NaN, and their gradient is 0 times that.
    const key = shown(call, call.key);
    const weights = cast(parameterOf(call.context, 'memory'), 'f32');
    const omega = mul(softplus(mul(perHead(key, weights), scale * Math.LN2)), 1 / Math.LN2);
    const counts = keyCounts(call, before);
    const scores = sums('scores', mul(cast(call.query, 'f32'), scale), key, omega);
    const values = sums('values', softmax(div(scores, counts)), omega, cast(call.value, 'f32'));
    return cast(div(values, counts), call.value.dtype);
  };
  const optionsOf = ({ options: { keyLengths } }: MechanismCall) => ({
    ...{ causal: true, normalise: false, ...(chunk !== undefined && { chunk }) },
    ...(keyLengths && { keyLengths }),
  });

  return {
    name: 'causal Luna',
    takes: ['causal', 'keyLengths', 'decoding'],
    refusals: {
      ...noPairs,
      groupedHeads: 'Each head has a memory of its own for queries and keys',
      zeroShot: `Its memory is learned with the model. ${notSoftmax}`,
    },
    declare: ({ heads, headDim }) => ({
      memory: { shape: [heads, memory, headDim], initializer: initializers.normal() },
    }),
    attend: (call) =>
      scope(() =>
        attended(call, 0, (_, query, key, value) => linearAttention(query, key, value, optionsOf(call))),
      ),
    step: (call, state) =>
      scope(() => {
        const before = state?.length ?? 0;
        const tensors: { [name: string]: Tensor } = {};
        const causal = { ...call, options: { ...call.options, causal: true } };
        const output = attended(causal, before, (name, query, key, value) => {
          const [sums, total] = [state?.tensors[`${name}.sums`], state?.tensors[`${name}.total`]];
          const made = linearAttention(query, key, value, {
            ...{ ...optionsOf(call), returnState: true },
            ...(sums && total && { state: { sums, total } }),
          });
          tensors[`${name}.sums`] = made.state.sums;
          tensors[`${name}.total`] = made.state.total;
          return made.output;
        });
        return { output, state: { length: before + (call.key.shape[2] as number), tensors } };
      }),
  };
}

function notCausal(): TopKError {
  return new TopKError('UNSUPPORTED', 'causalLuna: not a causal layer', {
    expected: 'causal: true',
    got: 'a layer whose tokens see later ones',
    fix: 'In both directions Luna is a block with two streams: lunaBlock',
  });
}
