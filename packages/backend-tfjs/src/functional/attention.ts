import {
  type AttentionOptions,
  aBoolean,
  aNumber,
  aValue,
  checkedLater,
  exactAttention as coreExactAttention,
  topKAttention as coreTopKAttention,
  type OptionKinds,
  optionsWithin,
  readOptions,
  required,
  type Tensor,
} from '@topk-attention/core';
import { attentionBackward, attentionForward } from '@topk-attention/core/backend';
import type { Tf, TfTensor } from '../tf.js';
import { backendOf } from './backend-of.js';
import { type DifferentiableResult, differentiable } from './differentiable.js';
import { requireK } from './require-k.js';
import { requireTensors } from './require-tensors.js';

/** Core's options with `tf.Tensor`s in place of its tensors. */
export interface TfAttentionOptions
  extends Omit<AttentionOptions, 'mask' | 'keyLengths' | 'bias' | 'relativeBias'> {
  /** bool, each dim 1 or that of [B, Hq, Lq, Lk]; true = keep. */
  readonly mask?: TfTensor;
  /** int32 [B]: keys from this index on are hidden. */
  readonly keyLengths?: TfTensor;
  /** float32, each dim 1 or that of [B, Hq, Lq, Lk], added to the scaled scores; -inf hides a key. Differentiable. */
  readonly bias?: TfTensor;
  /**
   * T5's learned bias by relative position, computed per chunk from its float32 [buckets, Hq] table. Differentiable.
   */
  readonly relativeBias?: {
    readonly table: TfTensor;
    readonly bidirectional: boolean;
    readonly maxDistance: number;
  };
}

export interface TfTopKAttentionOptions extends TfAttentionOptions {
  /** Keys kept per query; all of them if there are fewer. */
  readonly k: number;
  /** Also return the kept key indices. Default false. */
  readonly returnIndices?: boolean;
}

// `requireTensors` checks all tensors, including those in options.
const attentionKinds: OptionKinds<TfAttentionOptions> = {
  scale: aNumber,
  causal: aBoolean,
  queryStart: aNumber,
  mask: checkedLater(),
  keyLengths: checkedLater(),
  bias: checkedLater(),
  relativeBias: optionsWithin({
    table: required(aValue<TfTensor>('a tf.Tensor', (value) => typeof value === 'object')),
    bidirectional: required(aBoolean),
    maxDistance: required(aNumber),
  }),
  dropout: optionsWithin({ rate: required(aNumber), seed: required(aNumber) }),
  queryChunk: aNumber,
  budgetBytes: aNumber,
};

const topKKinds: OptionKinds<TfTopKAttentionOptions> = {
  k: checkedLater(),
  returnIndices: aBoolean,
  ...attentionKinds,
};

/** The result of top-k attention with `returnIndices`. */
export interface TfTopKAttentionResult {
  /** float32 [B, Hq, Lq, Dv] */
  readonly output: TfTensor;
  /** int32 [B, Hq, Lq, min(k, Lk)]: kept keys in ascending order, then -1 in unused slots. No gradient. */
  readonly indices: TfTensor;
}

/**
 * Attention in which every query keeps only its k largest scores: softmax over those, zero elsewhere (paper section 1).
 * Queries go in chunks, so memory is linear in the length.
 *
 * q [B, Hq, Lq, D], k [B, Hkv, Lk, D], v [B, Hkv, Lk, Dv] -> [B, Hq, Lq, Dv], all float32; Hq is a multiple of Hkv. k
 * counts valid keys (mask, length, causality and -inf biases hide keys), the lower index wins ties, a row without a
 * valid key gives zeros, NaN in a valid score makes its row NaN.
 *
 * Runs on tf's current engine and returns ordinary tensors: an open `tf.tidy` tracks them, otherwise the caller
 * disposes of them. Differentiable with respect to q, k, v, bias and the relative table under `tf.grad`, `tf.grads`,
 * `tf.variableGrads` and `optimizer.minimize`: the tape keeps 8 k bytes per query and head, and shares the inputs (tf's
 * wasm engine copies them, as it does for tf's own ops). Second-order gradients are refused.
 *
 * @throws TopKError SHAPE_MISMATCH, RANK_MISMATCH, DTYPE_MISMATCH, INVALID_K, INVALID_OPTION, EMPTY_SEQUENCE,
 * DOES_NOT_FIT; DISPOSED; MIXED_BACKENDS for tensors of another TensorFlow.js or of another of its engines;
 * NOT_DIFFERENTIABLE for gradients of gradients; OUT_OF_MEMORY or ENGINE_FAILURE where the engine throws. Failures that
 * tf's WebGPU and WebGL engines notice too late to throw do not show in tensors of tf; tensors of a `TfjsBackend`
 * reject.
 *
 * @example
 * const output = topKAttention(tf, q, k, v, { k: 64, causal: true });
 * const [dq, dk, dv] = tf.grads((q, k, v) => topKAttention(tf, q, k, v, { k: 64 }).square().sum())([q, k, v]);
 */
export function topKAttention(
  tf: Tf,
  q: TfTensor,
  k: TfTensor,
  v: TfTensor,
  options: TfTopKAttentionOptions & { readonly returnIndices: true },
): TfTopKAttentionResult;
export function topKAttention(
  tf: Tf,
  q: TfTensor,
  k: TfTensor,
  v: TfTensor,
  options: TfTopKAttentionOptions & { readonly returnIndices?: false },
): TfTensor;
export function topKAttention(
  tf: Tf,
  q: TfTensor,
  k: TfTensor,
  v: TfTensor,
  options: TfTopKAttentionOptions,
): TfTensor | TfTopKAttentionResult {
  const name = 'topKAttention';
  const { k: kept, returnIndices: wantsIndices = false, ...shared } = readOptions(name, options, topKKinds);
  const { output, lists } = run(tf, name, { q, k, v }, shared, requireK(name, kept), wantsIndices);
  if (!wantsIndices) return output;
  const [indices, scores] = lists as [TfTensor, TfTensor];
  scores.dispose();
  return { output, indices };
}

/**
 * The same attention over all keys, still in chunks of queries and linear in memory: the paper's "query chunking" and
 * the honest baseline. Options, semantics, gradients and errors as for `topKAttention`; dropout slots are key indices.
 *
 * @example
 * const output = exactAttention(tf, q, k, v, { causal: true });
 */
export function exactAttention(
  tf: Tf,
  q: TfTensor,
  k: TfTensor,
  v: TfTensor,
  options?: TfAttentionOptions,
): TfTensor {
  const name = 'exactAttention';
  return run(tf, name, { q, k, v }, readOptions(name, options, attentionKinds), 'all', false).output;
}

function run(
  tf: Tf,
  name: string,
  { q, k, v }: { readonly q: TfTensor; readonly k: TfTensor; readonly v: TfTensor },
  options: TfAttentionOptions,
  kept: number | 'all',
  wantsLists: boolean,
): DifferentiableResult {
  const { mask, keyLengths, bias, relativeBias, ...plain } = options;
  const table = relativeBias?.table;
  const backend = backendOf(tf);
  requireTensors(tf, name, { q, k, v }, { mask, keyLengths, bias, 'relativeBias.table': table });

  /** The options as core takes them. */
  const bind = (extras: readonly Tensor[], constants: readonly Tensor[]): AttentionOptions => {
    const [first, second] = extras;
    const biasOfCore = bias && first;
    const tableOfCore = bias ? second : first;
    const maskOfCore = mask && constants[0];
    const lengthsOfCore = keyLengths && constants.at(-1);
    return {
      ...plain,
      ...(biasOfCore && { bias: biasOfCore }),
      ...(relativeBias && tableOfCore && { relativeBias: { ...relativeBias, table: tableOfCore } }),
      ...(maskOfCore && { mask: maskOfCore }),
      ...(lengthsOfCore && { keyLengths: lengthsOfCore }),
    };
  };
  return differentiable(
    tf,
    backend,
    {
      name,
      inputs: [q, k, v, bias, table].filter((one) => one !== undefined),
      constants: [mask, keyLengths].filter((one) => one !== undefined),
      forward(inputs, constants, saves) {
        const [queries, keys, values, ...extras] = inputs as AttentionInputs;
        const bound = bind(extras, constants);
        if (saves) {
          const made = attentionForward(queries, keys, values, { ...bound, k: kept });
          const lists = made.indices && made.scores ? [made.indices, made.scores] : [];
          return { output: made.output, lists };
        }
        const output =
          kept === 'all'
            ? coreExactAttention(queries, keys, values, bound)
            : coreTopKAttention(queries, keys, values, { ...bound, k: kept });
        return { output, lists: [] };
      },
      backward(inputs, constants, [indices, scores], dOutput) {
        const [queries, keys, values, ...extras] = inputs as AttentionInputs;
        const lists = indices && scores ? { indices, scores } : {};
        const halfOptions = { ...bind(extras, constants), k: kept };
        const made = attentionBackward(queries, keys, values, halfOptions, lists, dOutput);
        return [made.q, made.k, made.v, made.bias, made.relativeTable].filter((one) => one !== undefined);
      },
    },
    wantsLists,
  );
}

type AttentionInputs = readonly [q: Tensor, k: Tensor, v: Tensor, ...extras: Tensor[]];
