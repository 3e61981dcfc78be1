import {
  type AttentionOptions,
  exactAttention,
  formatShape,
  scope,
  softmax,
  type Tensor,
  TopKError,
  topKAttention,
} from '@topk-attention/core';
import { attentionForward, sameShape } from '@topk-attention/core/backend';
import { requireTensor } from '../require.js';
import type { Run } from '../run.js';
import { handOver, type KeptKeys } from '../trace.js';

/**
 * The caller's own attention, with the signature of core's `exactAttention`: queries [B, heads, Lq, D], keys
 * [B, heads, Lk, D] and values [B, heads, Lk, Dv] -> [B, heads, Lq, Dv]. It borrows its arguments, and the tensors that
 * it makes are freed with the layer's. It must honour the options: `keyLengths` hides padding and, in a cache, the room
 * not yet filled. If it uses core's ops, it has a gradient.
 */
export type AttentionFunction = (q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) => Tensor;

/** All keys, the k best of each query and head, or a function of queries, keys and values. */
export type AttentionChoice = 'exact' | { readonly k: number } | AttentionFunction;

/** A choice that determines which keys are kept. */
type KeptChoice = Exclude<AttentionChoice, AttentionFunction>;

/** Keys that a choice keeps: all of them if there are at most k, because exact attention is then faster. */
export function keptKeys(choice: KeptChoice, keys: number): number | 'all' {
  return choice === 'exact' || choice.k >= keys ? 'all' : choice.k;
}

/**
 * Attention of query, key and value [B, heads, L, headDim] -> [B, heads, Lq, headDim], within the run's budget and
 * reported to the path's hook.
 */
export function attendHeads(
  { trace, budgetBytes }: Run,
  path: string,
  choice: AttentionChoice,
  { query, key, value }: { readonly query: Tensor; readonly key: Tensor; readonly value: Tensor },
  called: Omit<AttentionOptions, 'budgetBytes'>,
): Tensor {
  const options: AttentionOptions = { ...called, ...(budgetBytes !== undefined && { budgetBytes }) };
  if (typeof choice === 'function') return ownAttention(path, choice, query, key, value, options);
  const kept = keptKeys(choice, key.shape[2] as number);
  trace?.onAttention?.(path, listsOf(query, key, value, options, kept));
  return kept === 'all'
    ? exactAttention(query, key, value, options)
    : topKAttention(query, key, value, { ...options, k: kept });
}

function ownAttention(
  path: string,
  choice: AttentionFunction,
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions,
): Tensor {
  const attended = choice(query, key, value, options);
  requireTensor(path, 'result of the attention function', attended);
  const expected = [...query.shape.slice(0, 3), value.shape[3] as number];
  if (sameShape(attended.shape, expected)) return attended;
  throw new TopKError('SHAPE_MISMATCH', `${path}: the result of the attention function has the wrong shape`, {
    expected: formatShape(expected),
    got: formatShape(attended.shape),
  });
}

/** The lists for a hook. A second forward pass, because the recorded one keeps its lists to itself. */
function listsOf(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions,
  kept: number | 'all',
): KeptKeys {
  return scope(() => {
    const k = kept === 'all' ? (key.shape[2] as number) : kept;
    const { indices, scores } = attentionForward(query, key, value, { ...options, k });
    // attentionForward returns both lists for every k that is a number.
    const [keys, values] = [indices as Tensor, scores as Tensor];
    return { indices: handOver(keys), scores: handOver(values), weights: handOver(softmax(values)) };
  });
}
