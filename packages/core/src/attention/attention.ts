import { apply } from '../apply.js';
import { custom } from '../autograd/custom.js';
import { withoutTapes } from '../autograd/tape.js';
import type { AttentionGradients, AttentionOutputs, BackendTensor } from '../backend.js';
import { TopKError } from '../errors.js';
import { requireOutputShape } from '../output-shape.js';
import type { AttentionRequest } from '../plan/request.js';
import type { Tensor } from '../tensor.js';
import { composedAttentionBackward, type SavedLists } from './composed-backward.js';
import { composedAttention } from './composed-forward.js';
import {
  type AttentionCall,
  type AttentionOptions,
  type AttentionTensors,
  checkCall,
  mapInputs,
  type TopKAttentionOptions,
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
  // Plain JavaScript may leave k out, which must not mean all keys.
  const given: { readonly k?: number } = options;
  const call = checkCall('topKAttention', q, k, v, options, given.k ?? Number.NaN);
  const { output, indices, scores } = runAttention(
    'topKAttention',
    call,
    options,
    options.returnIndices === true,
  );
  scores?.dispose();
  if (options.returnIndices === true && indices !== undefined) return { output, indices };
  indices?.dispose();
  return output;
}

/**
 * The same attention over all keys, still in chunks of queries and linear in memory: the paper's "query chunking" and
 * the honest baseline. Options and semantics as for `topKAttention`; dropout slots are key indices.
 */
export function exactAttention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  return runAttention(
    'exactAttention',
    checkCall('exactAttention', q, k, v, options, undefined),
    options,
    false,
  ).output;
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
  const name = nameOf(options);
  const { request, tensors } = checkCall(name, q, k, v, options, keptOf(options));
  return withoutTapes(() => forward(name, { ...request, saves: request.k !== 'all' }, tensors, options));
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
  const name = nameOf(options);
  const { request, tensors } = checkCall(name, q, k, v, options, keptOf(options));
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
      options,
    ),
  );
}

/** Errors speak of what users call. */
function nameOf({ k }: AttentionHalfOptions): string {
  return k === 'all' ? 'exactAttention' : 'topKAttention';
}

function keptOf({ k }: AttentionHalfOptions): number | undefined {
  return k === 'all' ? undefined : k;
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
      if (isTracked) planBackward(call.backend, call.request, options);
      const made = forward(name, { ...call.request, saves: wantsIndices || isTracked }, tensors, options);
      const lists =
        made.indices === undefined || made.scores === undefined ? [] : [made.indices, made.scores];
      return { outputs: [made.output, ...lists], saved: isTracked ? [...present(tensors), ...lists] : [] };
    },
    (_ops, [dOutput], saved) => {
      const rest = [...saved];
      const inputs = mapInputs(tensors, () => rest.shift() as Tensor);
      const [savedIndices, savedScores] = rest;
      const lists = savedIndices && savedScores && { indices: savedIndices, scores: savedScores };
      const made = backward(
        name,
        { ...call.request, saves: true },
        inputs,
        lists,
        dOutput as Tensor,
        options,
      );
      return [made.q, made.k, made.v, made.bias, made.relativeTable].filter((one) => one !== undefined);
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
