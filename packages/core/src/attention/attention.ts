import type { AttentionGradients, AttentionOutputs, AttentionRequest } from '../contract/attention.js';
import { type OperationCall, runBackward, runForward, runOperation } from '../operation/run.js';
import { clampK } from '../selection/clamp-k.js';
import { requireOutputShape } from '../tensor/output-shape.js';
import { checkedLater, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { withoutTapes } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';
import { attention } from './definition.js';
import {
  type AttentionOptions,
  attentionKinds,
  type ExactAttentionOptions,
  exactKinds,
  type TopKAttentionOptions,
  topKKinds,
} from './options.js';
import { wishesOf } from './plan.js';
import { ALL_KEYS, type AttentionTensors, checkCall } from './request.js';

/** The result of top-k attention with `returnIndices`. */
export interface TopKAttentionResult {
  /** [B, Hq, Lq, Dv] */
  readonly output: Tensor;
  /** i32 [B, Hq, Lq, min(k, Lk)]: kept keys in ascending order, then -1 in unused slots. */
  readonly indices: Tensor;
}

/** Options of the two halves of attention. */
export interface AttentionHalfOptions extends AttentionOptions {
  /** Keys kept per query, or all of them. */
  readonly k: number | 'all';
}

const halfKinds: OptionKinds<AttentionHalfOptions> = { k: checkedLater(), ...attentionKinds };

/**
 * Attention in which every query keeps only its k largest scores: softmax over those, zero elsewhere. Queries run in
 * chunks, so memory is linear in the length; gradients keep 8 k bytes per query and head (paper section 1).
 *
 * q [B, Hq, Lq, D], k [B, Hkv, Lk, D], v [B, Hkv, Lk, Dv] -> [B, Hq, Lq, Dv]; Hq is a multiple of Hkv. k counts valid
 * keys (mask, length, causality and -inf biases hide keys), the lower index wins ties, a row without a valid key gives
 * zeros, NaN in a valid score makes its row NaN.
 *
 * @throws TopKError SHAPE_MISMATCH, RANK_MISMATCH, DTYPE_MISMATCH, INVALID_K, INVALID_OPTION, EMPTY_SEQUENCE,
 * MIXED_BACKENDS, DOES_NOT_FIT.
 *
 * @example
 * const output = topKAttention(q, k, v, { k: 64, causal: true });
 */
export function topKAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: TopKAttentionOptions & { readonly returnIndices: true },
): TopKAttentionResult;
export function topKAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: TopKAttentionOptions & { readonly returnIndices?: false },
): Tensor;
export function topKAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: TopKAttentionOptions,
): Tensor | TopKAttentionResult;
export function topKAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: TopKAttentionOptions,
): Tensor | TopKAttentionResult {
  const given = readOptions('topKAttention', options, topKKinds);
  const { k: kept, returnIndices = false } = given;
  // Only the halves accept 'all': here k is a number, and leaving it out must not mean all keys.
  const most = clampK('topKAttention', kept, Number.MAX_SAFE_INTEGER, ALL_KEYS);
  const call = callOf('topKAttention', q, k, v, given, most);
  const { output, indices, scores } = runOperation(attention, {
    ...call,
    request: { ...call.request, saves: returnIndices },
  });
  scores?.dispose();
  if (returnIndices && indices !== undefined) return { output, indices };
  indices?.dispose();
  return output;
}

/**
 * The same attention over all keys, still in query chunks and linear in memory: the paper's "query chunking" and the
 * honest baseline. Options and semantics as for `topKAttention`; dropout slots are key indices. With `sigmoidShift` the
 * weights are sigmoids and need not sum to 1.
 */
export function exactAttention(q: Tensor, k: Tensor, v: Tensor, options?: ExactAttentionOptions): Tensor {
  const given = readOptions('exactAttention', options, exactKinds);
  return runOperation(attention, callOf('exactAttention', q, k, v, given, 'all')).output;
}

/**
 * The forward half of `topKAttention` (`k` a number) or `exactAttention` (`k: 'all'`), for use with another automatic
 * differentiation: with a numeric k it returns the lists that `attentionBackward` needs. Records nothing on open tapes.
 *
 * @throws TopKError as `topKAttention`.
 * @example
 * const { output, indices, scores } = attentionForward(q, k, v, { k: 64 });
 */
export function attentionForward(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionHalfOptions,
): AttentionOutputs<Tensor> {
  const given = readOptions('attentionForward', options, halfKinds);
  const call = callOf(nameOf(given), q, k, v, given, given.k);
  return withoutTapes(() => runForward(attention, call));
}

/**
 * The backward half: gradients of q, k, v and, if given, of the bias and the relative table, from the lists that
 * `attentionForward` returned for the same inputs and options (none for `k: 'all'`) and the gradient of its output,
 * [B, Hq, Lq, Dv]. With a numeric k, nothing of size Lq x Lk exists.
 *
 * @throws TopKError as `topKAttention`; SHAPE_MISMATCH when `dOutput` does not have the output's shape; INVALID_OPTION
 * without lists for a numeric k.
 */
export function attentionBackward(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionHalfOptions,
  lists: Pick<AttentionOutputs<Tensor>, 'indices' | 'scores'>,
  dOutput: Tensor,
): AttentionGradients<Tensor> {
  const given = readOptions('attentionBackward', options, halfKinds);
  const call = callOf(nameOf(given), q, k, v, given, given.k);
  const { where, request, inputs } = call;
  requireOutputShape(`${where}.backward`, dOutput, attention.outputs(request).output.shape);
  const { indices, scores } = lists;
  const saved = request.k !== 'all' && { ...(indices && { indices }), ...(scores && { scores }) };
  return withoutTapes(() => runBackward(attention, call, { ...inputs, ...saved, dOutput }));
}

/** Errors name the function that users call. */
function nameOf({ k }: AttentionHalfOptions): string {
  return k === 'all' ? 'exactAttention' : 'topKAttention';
}

/** A checked call. */
function callOf(
  where: string,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: ExactAttentionOptions,
  kept: number | 'all',
): OperationCall<AttentionRequest, AttentionTensors> {
  const { request, tensors: inputs } = checkCall(where, q, k, v, options, kept);
  return { where, request, inputs, wishes: wishesOf(options) };
}
