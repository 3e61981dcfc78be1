import {
  aNumber,
  cast,
  div,
  mul,
  type OptionKinds,
  readOptions,
  scope,
  softmax,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { initializers, type Mechanism, type MechanismCall, parameterOf } from '@topk-attention/nn';
import { perHead, softplus } from './features.js';
import { linearAttention } from './gated-sums.js';
import { keyCounts, requireWhole, shown } from './inputs.js';
import { noPairs, notSoftmax } from './refusals.js';

export interface CausalLunaOptions {
  /** Vectors of the memory. Default 16. */
  readonly memory?: number;
  /** Tokens per chunk of causal sums. Default 128. */
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
  const { memory = 16, chunk = 128 } = readOptions('causalLuna', options, kinds);
  requireWhole('causalLuna', 'memory', memory, 1);
  requireWhole('causalLuna', 'chunk', chunk, 1);

  const made = (call: MechanismCall, before: number, state?: { readonly [name: string]: Tensor }) => {
    if (call.options.causal !== true) throw notCausal();
    const scale = call.options.scale ?? (call.query.shape[3] as number) ** -0.5;
    const key = shown(call, call.key);
    const weights = cast(parameterOf(call.context, 'memory'), 'f32');
    const omega = mul(softplus(mul(perHead(key, weights), scale * Math.LN2)), 1 / Math.LN2);
    const own = shown(call, omega);
    const counts = keyCounts(call, before);
    const sums = { causal: true, normalise: false, chunk };
    const scores = linearAttention(
      { query: mul(cast(call.query, 'f32'), scale), key, value: own },
      { ...sums, ...(state?.scores && { state: state.scores }) },
    );
    const attended = linearAttention(
      { query: softmax(div(scores.output, counts)), key: own, value: shown(call, call.value) },
      { ...sums, ...(state?.values && { state: state.values }) },
    );
    return {
      output: cast(div(attended.output, counts), call.value.dtype),
      tensors: { scores: scores.state, values: attended.state },
    };
  };

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
    attend: (call) => scope(() => made(call, 0).output),
    step: (call, state) =>
      scope(() => {
        const before = state?.length ?? 0;
        const causal = { ...call, options: { ...call.options, causal: true } };
        const { output, tensors } = made(causal, before, state?.tensors);
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
