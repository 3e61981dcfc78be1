import { apply } from '../apply.js';
import { custom } from '../autograd/custom.js';
import { firstOrder } from '../autograd/first-order.js';
import { withoutTapes } from '../autograd/tape.js';
import type { AttentionGradients, AttentionOutputs, BackendTensor } from '../backend.js';
import { TopKError } from '../errors.js';
import { requireOutputShape } from '../output-shape.js';
import type { AttentionRequest } from '../plan/request.js';
import { checkedLater, type OptionKinds, readOptions } from '../read-options.js';
import type { Tensor } from '../tensor.js';
import { composedAttentionBackward, type SavedLists } from './composed-backward.js';
import { composedAttention } from './composed-forward.js';
import { emptyOutputs, zeroGradients } from './empty-batch.js';
import {
  type AttentionCall,
  type AttentionOptions,
  type AttentionTensors,
  attentionKinds,
  checkCall,
  clampK,
  mapInputs,
  type TopKAttentionOptions,
  topKKinds,
} from './options.js';
import { planBackward, planForward } from './plans.js';

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
 * Attention in which every query keeps only its k largest scores: softmax over those, zero elsewhere. Queries go in
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
): Tensor | TopKAttentionResult {
  const given = readOptions('topKAttention', options, topKKinds);
  const { k: kept, returnIndices = false } = given;
  // 'all' is a word of the halves: here k is a number, and none at all must not mean all keys either.
  const call = checkCall(
    'topKAttention',
    q,
    k,
    v,
    given,
    clampK('topKAttention', kept, Number.MAX_SAFE_INTEGER),
  );
  const { output, indices, scores } = runAttention('topKAttention', call, given, returnIndices);
  scores?.dispose();
  if (returnIndices && indices !== undefined) return { output, indices };
  indices?.dispose();
  return output;
}

/**
 * The same attention over all keys, still in chunks of queries and linear in memory: the paper's "query chunking" and
 * the honest baseline. Options and semantics as for `topKAttention`; dropout slots are key indices.
 */
export function exactAttention(q: Tensor, k: Tensor, v: Tensor, options?: AttentionOptions): Tensor {
  const given = readOptions('exactAttention', options, attentionKinds);
  const call = checkCall('exactAttention', q, k, v, given, 'all');
  return runAttention('exactAttention', call, given, false).output;
}

/**
 * The forward half of `topKAttention` (`k` a number) or `exactAttention` (`k: 'all'`), for automatic differentiation
 * other than this package's: with a numeric k it returns the lists that `attentionBackward` needs. Nothing is recorded
 * on open tapes.
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
  const name = nameOf(given);
  const { request, tensors } = checkCall(name, q, k, v, given, given.k);
  return withoutTapes(() => forward(name, { ...request, saves: request.k !== 'all' }, tensors, given));
}

/**
 * The backward half: gradients of q, k, v and, where they were given, of the bias and the relative table, from the lists
 * that `attentionForward` returned for the same inputs and options (none for `k: 'all'`) and the gradient of its
 * output, [B, Hq, Lq, Dv]. Nothing of size Lq x Lk exists with a numeric k.
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
  const name = nameOf(given);
  const { request, tensors } = checkCall(name, q, k, v, given, given.k);
  requireOutputShape(`${name}.backward`, dOutput, [
    request.batch,
    request.queryHeads,
    request.queryLength,
    request.valueDim,
  ]);
  const { indices, scores } = lists;
  const saved = indices && scores && { indices, scores };
  if (request.k !== 'all' && saved === undefined) {
    throw new TopKError('INVALID_OPTION', `${name}.backward: no lists`, {
      expected: 'indices and scores of attentionForward',
      got: 'neither or one of them',
    });
  }
  return withoutTapes(() =>
    backward(
      name,
      { ...request, saves: true },
      tensors,
      request.k === 'all' ? undefined : saved,
      dOutput,
      given,
    ),
  );
}

/** Errors speak of what users call. */
function nameOf({ k }: AttentionHalfOptions): string {
  return k === 'all' ? 'exactAttention' : 'topKAttention';
}

function runAttention(
  name: string,
  call: AttentionCall,
  options: AttentionOptions,
  wantsIndices: boolean,
): AttentionOutputs<Tensor> {
  const { tensors } = call;
  const { q, k, v, bias, relativeTable } = tensors;
  const [output, indices, scores] = custom(
    name,
    [q, k, v, bias, relativeTable].filter((one) => one !== undefined),
    (isTracked) => {
      // A backward pass that will not fit is refused here, before anything is allocated.
      if (isTracked && call.request.batch > 0) planBackward(call.backend, call.request, options);
      const made = forward(name, { ...call.request, saves: wantsIndices || isTracked }, tensors, options);
      const lists =
        made.indices === undefined || made.scores === undefined ? [] : [made.indices, made.scores];
      return { outputs: [made.output, ...lists], saved: isTracked ? [...present(tensors), ...lists] : [] };
    },
    (_ops, [dOutput], saved) => {
      // A cotangent of the indices alone: they have no gradient.
      if (dOutput === undefined) return [];
      const rest = [...saved];
      const inputs = mapInputs(tensors, () => rest.shift() as Tensor);
      const [savedIndices, savedScores] = rest;
      const lists = savedIndices && savedScores && { indices: savedIndices, scores: savedScores };
      return firstOrder(name, [...present(inputs), dOutput], () => {
        const made = backward(name, { ...call.request, saves: true }, inputs, lists, dOutput, options);
        return [made.q, made.k, made.v, made.bias, made.relativeTable].filter((one) => one !== undefined);
      });
    },
  );
  return { output: output as Tensor, ...(indices && { indices }), ...(scores && { scores }) };
}

function forward(
  name: string,
  request: AttentionRequest,
  tensors: AttentionTensors,
  options: AttentionOptions,
): AttentionOutputs<Tensor> {
  if (request.batch === 0) return emptyOutputs(request, tensors);
  const { backend } = tensors.q;
  const { fused, plan } = planForward(backend, request, options);
  if (fused === undefined) return composedAttention(request, tensors, plan.queryChunk);
  const { batch, queryHeads, queryLength, valueDim, k } = request;
  const hasLists = k !== 'all' && request.saves;
  const listShape = [batch, queryHeads, queryLength, k === 'all' ? 0 : k];
  const [output, indices, scores] = apply(
    name,
    present(tensors),
    [
      { shape: [batch, queryHeads, queryLength, valueDim], dtype: request.dtype },
      ...(hasLists
        ? ([
            { shape: listShape, dtype: 'i32' },
            { shape: listShape, dtype: 'f32' },
          ] as const)
        : []),
    ],
    () => {
      const made = fused.run(request, mapInputs(tensors, handleOf), plan.queryChunk);
      return [made.output, made.indices, made.scores].filter((one) => one !== undefined);
    },
  );
  return { output: output as Tensor, ...(indices && { indices }), ...(scores && { scores }) };
}

function backward(
  name: string,
  request: AttentionRequest,
  tensors: AttentionTensors,
  lists: SavedLists | undefined,
  dOutput: Tensor,
  options: AttentionOptions,
): AttentionGradients<Tensor> {
  if (request.batch === 0) return zeroGradients(tensors);
  const { backend } = tensors.q;
  const { fused, plan } = planBackward(backend, request, options);
  if (fused === undefined)
    return composedAttentionBackward(request, tensors, lists, dOutput, plan.queryChunk);
  const { q, k, v, bias, relativeTable } = tensors;
  const made = apply(
    `${name}.backward`,
    [...present(tensors), ...(lists ? [lists.indices, lists.scores] : []), dOutput],
    [q, k, v, bias, relativeTable].filter((one) => one !== undefined),
    () => {
      const handles = {
        ...mapInputs(tensors, handleOf),
        ...(lists && { indices: handleOf(lists.indices), scores: handleOf(lists.scores) }),
        dOutput: handleOf(dOutput),
      };
      const gradients = fused.run(request, handles, plan.queryChunk);
      return [gradients.q, gradients.k, gradients.v, gradients.bias, gradients.relativeTable].filter(
        (one) => one !== undefined,
      );
    },
  );
  const next = (): Tensor => made.shift() as Tensor;
  return {
    q: next(),
    k: next(),
    v: next(),
    ...(bias && { bias: next() }),
    ...(relativeTable && { relativeTable: next() }),
  };
}

function present(tensors: AttentionTensors): Tensor[] {
  const list: Tensor[] = [];
  mapInputs(tensors, (one) => list.push(one));
  return list;
}

function handleOf(one: Tensor): BackendTensor {
  return one.handle;
}
