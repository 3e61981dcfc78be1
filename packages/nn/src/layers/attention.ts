import {
  type AttentionOptions,
  type AttentionPlan,
  type Backend,
  type Explanation,
  exactAttention,
  explain,
  formatShape,
  type Shape,
  scope,
  softmax,
  type Tensor,
  TopKError,
  topKAttention,
} from '@topk-attention/core';
import { attentionForward, sameShape } from '@topk-attention/core/backend';
import { requireTensor } from '../require.js';
import type { Run } from '../run.js';
import { seedOf } from '../seeds.js';
import { handOver, type KeptKeys } from '../trace.js';
import { mergeHeads, splitHeads } from './heads.js';
import { linear } from './linear.js';

/**
 * Attention of the caller's own, with the signature of core's `exactAttention`: queries [B, heads, Lq, D], keys
 * [B, heads, Lk, D] and values [B, heads, Lk, Dv] -> [B, heads, Lq, Dv]. The tensors it is given are borrowed, and those
 * that it makes are freed with the layer's. It has to heed the options: `keyLengths` hides padding, and in a cache the room
 * that is not yet filled. Made of core's ops, it has a gradient.
 */
export type AttentionFunction = (q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions) => Tensor;

/** All keys, the k best of each query and head, or what a function makes of queries, keys and values. */
export type AttentionChoice = 'exact' | { readonly k: number } | AttentionFunction;

/** A choice that says which keys are kept. */
type KeptChoice = Exclude<AttentionChoice, AttentionFunction>;

/** Projections of one attention layer: q, k and v [D, heads * headDim], o [heads * headDim, D]. */
export interface AttentionWeights {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly o: Tensor;
}

/** An attention layer: everything about it but its inputs. */
export interface AttentionLayer {
  /** Its name for seeds and hooks: 'encoder.0.attention'. */
  readonly path: string;
  readonly weights: AttentionWeights;
  readonly heads: number;
  /** Multiplies the dot products. */
  readonly scale: number;
  readonly choice: AttentionChoice;
  /** What holds for whole sequences. Decoding from a cache adds where its queries stand. */
  readonly sequence: Pick<AttentionOptions, 'causal' | 'relativeBias'>;
  /** Rate at which softmax weights are dropped in training. */
  readonly dropout: number;
}

/** Keys and values of an attention layer, [B, heads, L, headDim]. */
export interface KeysAndValues {
  readonly key: Tensor;
  readonly value: Tensor;
}

/** Options of one call; scale and dropout are the layer's, the budget is the run's. */
export type AttendOptions = Omit<AttentionOptions, 'scale' | 'dropout' | 'budgetBytes'>;

/** Keys that a choice keeps: all of them where there are no more than k, because exact attention is then faster. */
export function keptKeys(choice: KeptChoice, keys: number): number | 'all' {
  return choice === 'exact' || choice.k >= keys ? 'all' : choice.k;
}

/** Queries [B, heads, L, headDim] of x [B, L, D]. */
export function queriesOf({ weights, heads }: AttentionLayer, x: Tensor): Tensor {
  return scope(() => splitHeads(linear(x, weights.q), heads));
}

/** Keys and values of x [B, L, D]. */
export function keysAndValuesOf({ weights, heads }: AttentionLayer, x: Tensor): KeysAndValues {
  return scope(() => ({
    key: splitHeads(linear(x, weights.k), heads),
    value: splitHeads(linear(x, weights.v), heads),
  }));
}

/**
 * What an attention layer makes of queries, keys and values: [B, Lq, D], after the output projection.
 *
 * @param options of this call: the layer's `sequence`, lengths, where queries stand in a cache
 * @throws TopKError as `exactAttention`; INVALID_OPTION, SHAPE_MISMATCH for what a function returns
 */
export function attend(
  run: Run,
  layer: AttentionLayer,
  query: Tensor,
  { key, value }: KeysAndValues,
  options: AttendOptions,
): Tensor {
  const { path, scale, choice, dropout, weights } = layer;
  const all: AttentionOptions = {
    ...options,
    scale,
    ...(run.budgetBytes !== undefined && { budgetBytes: run.budgetBytes }),
    ...(run.training && dropout > 0 && { dropout: { rate: dropout, seed: seedOf(run, `${path}.weights`) } }),
  };
  return scope(() => {
    const attended =
      typeof choice === 'function'
        ? ownAttention(path, choice, query, key, value, all)
        : keptAttention(run, path, choice, query, key, value, all);
    return linear(mergeHeads(attended), weights.o);
  });
}

function keptAttention(
  { trace }: Run,
  path: string,
  choice: KeptChoice,
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions,
): Tensor {
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

/**
 * How an attention layer would run over whole sequences: its path and its plan. Runs nothing.
 *
 * @param query shape [B, heads, Lq, headDim]
 * @param key shape [B, heads, Lk, headDim]
 * @throws TopKError UNSUPPORTED for a layer whose attention is a function; DOES_NOT_FIT
 */
export function explainAttention(
  backend: Backend,
  { path, choice, scale, sequence }: AttentionLayer,
  query: Shape,
  key: Shape,
  { budgetBytes }: Pick<Run, 'budgetBytes'> = {},
): Explanation<AttentionPlan> {
  if (typeof choice === 'function') {
    throw new TopKError('UNSUPPORTED', `explainAttention: the attention of ${path} is a function`, {
      expected: "'exact' or { k }",
      got: 'a function, which has no plan',
    });
  }
  const kept = keptKeys(choice, key[2] as number);
  const options = {
    ...sequence,
    scale,
    ...(kept !== 'all' && { k: kept }),
    ...(budgetBytes !== undefined && { budgetBytes }),
  };
  return explain(backend, { q: query, k: key, v: key }, options);
}
