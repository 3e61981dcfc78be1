import {
  type AttentionOptions,
  type AttentionPlan,
  type Backend,
  type Explanation,
  exactAttention,
  explain,
  type Shape,
  scope,
  softmax,
  type Tensor,
  topKAttention,
} from '@topk-attention/core';
import { attentionForward } from '@topk-attention/core/backend';
import type { Run } from '../run.js';
import { seedOf } from '../seeds.js';
import { handOver, type KeptKeys } from '../trace.js';
import { mergeHeads, splitHeads } from './heads.js';
import { linear } from './linear.js';

/** All keys, or the k best of each query and head. */
export type AttentionChoice = 'exact' | { readonly k: number };

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
  /** What holds for whole sequences. Decoding from a cache passes options of its own. */
  readonly sequence: Pick<AttentionOptions, 'causal' | 'relativeBias'>;
  /** Rate at which softmax weights are dropped in training. */
  readonly dropout: number;
}

/** Keys and values of an attention layer, [B, heads, L, headDim]. */
export interface KeysAndValues {
  readonly key: Tensor;
  readonly value: Tensor;
}

/** Options of one call; scale and dropout are the layer's. */
export type AttendOptions = Omit<AttentionOptions, 'scale' | 'dropout'>;

/** Keys that a choice keeps: all of them where there are no more than k, because exact attention is then faster. */
export function keptKeys(choice: AttentionChoice, keys: number): number | 'all' {
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
 * @param options of this call: the layer's `sequence`, lengths, or what takes their place when decoding from a cache
 */
export function attend(
  run: Run,
  layer: AttentionLayer,
  query: Tensor,
  { key, value }: KeysAndValues,
  options: AttendOptions,
): Tensor {
  const { path, scale, choice, dropout, weights } = layer;
  const kept = keptKeys(choice, key.shape[2] as number);
  const all: AttentionOptions = {
    ...options,
    scale,
    ...(run.training && dropout > 0 && { dropout: { rate: dropout, seed: seedOf(run, `${path}.weights`) } }),
  };
  return scope(() => {
    const { onAttention } = run.trace ?? {};
    if (onAttention) onAttention(path, listsOf(query, key, value, all, kept));
    const attended =
      kept === 'all'
        ? exactAttention(query, key, value, all)
        : topKAttention(query, key, value, { ...all, k: kept });
    return linear(mergeHeads(attended), weights.o);
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
 */
export function explainAttention(
  backend: Backend,
  { choice, scale, sequence }: AttentionLayer,
  query: Shape,
  key: Shape,
): Explanation<AttentionPlan> {
  const kept = keptKeys(choice, key[2] as number);
  const options = { ...sequence, scale, ...(kept !== 'all' && { k: kept }) };
  return explain(backend, { q: query, k: key, v: key }, options);
}
