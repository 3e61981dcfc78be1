import {
  type AttentionOptions,
  type AttentionPlan,
  type Backend,
  cast,
  type Explanation,
  explain,
  type Shape,
  scope,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { Run } from '../run.js';
import { seedOf } from '../seeds.js';
import { type AttentionChoice, attendHeads, keptKeys } from './attend-heads.js';
import { mergeHeads, splitHeads } from './heads.js';
import { linear } from './linear.js';

/**
 * Projections of one attention layer: q [D, heads * headDim], k and v [D, keyValueHeads * headDim],
 * o [heads * headDim, D], and their biases, where they have any.
 */
export interface AttentionWeights {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly o: Tensor;
  readonly qBias?: Tensor;
  readonly kBias?: Tensor;
  readonly vBias?: Tensor;
  readonly oBias?: Tensor;
}

/** An attention layer from its queries, keys and values on, however they are made. */
export interface HeadAttention {
  /** Its name for seeds and hooks: 'encoder.0.attention'. */
  readonly path: string;
  readonly weights: Pick<AttentionWeights, 'o' | 'oBias'>;
  /** Multiplies the dot products. */
  readonly scale: number;
  readonly choice: AttentionChoice;
  /** Options for whole sequences. Decoding from a cache adds the position of its queries. */
  readonly sequence: Pick<AttentionOptions, 'causal' | 'relativeBias'>;
  /** Rate at which softmax weights are dropped in training. */
  readonly dropout: number;
}

/** An attention layer: everything about it except its inputs. */
export interface AttentionLayer extends HeadAttention {
  readonly weights: AttentionWeights;
  readonly heads: number;
  /** Key/value heads, each shared by heads / keyValueHeads query heads. Default: heads. */
  readonly keyValueHeads?: number;
}

/** Keys and values of an attention layer, [B, keyValueHeads, L, headDim]. */
export interface KeysAndValues {
  readonly key: Tensor;
  readonly value: Tensor;
}

/** Options of one call; scale and dropout are the layer's, the budget is the run's. */
export type AttendOptions = Omit<AttentionOptions, 'scale' | 'dropout' | 'budgetBytes'>;

/** Queries [B, heads, L, headDim] of x [B, L, D]. */
export function queriesOf({ weights, heads }: AttentionLayer, x: Tensor): Tensor {
  return scope(() => splitHeads(linear(x, weights.q, weights.qBias), heads));
}

/** Keys and values of x [B, L, D]. */
export function keysAndValuesOf(
  { weights, heads, keyValueHeads = heads }: AttentionLayer,
  x: Tensor,
): KeysAndValues {
  return scope(() => ({
    key: splitHeads(linear(x, weights.k, weights.kBias), keyValueHeads),
    value: splitHeads(linear(x, weights.v, weights.vBias), keyValueHeads),
  }));
}

/**
 * Applies an attention layer to queries, keys and values: [B, Lq, D], after the output projection.
 *
 * @param options of this call: the layer's `sequence`, lengths, position of the queries in a cache
 * @throws TopKError as `exactAttention`; INVALID_OPTION, SHAPE_MISMATCH for what a function returns
 */
export function attend(
  run: Run,
  layer: HeadAttention,
  query: Tensor,
  { key, value }: KeysAndValues,
  options: AttendOptions,
): Tensor {
  const { path, scale, choice, dropout, weights } = layer;
  const all: Omit<AttentionOptions, 'budgetBytes'> = {
    ...options,
    scale,
    ...(run.training && dropout > 0 && { dropout: { rate: dropout, seed: seedOf(run, `${path}.weights`) } }),
  };
  return scope(() => {
    const { relativeBias } = all;
    // Scores are f32 whatever the parameters are.
    const wide = relativeBias && { ...relativeBias, table: cast(relativeBias.table, 'f32') };
    const asked = { ...all, ...(wide && { relativeBias: wide }) };
    const heads = attendHeads(run, path, choice, { query, key, value }, asked);
    return linear(mergeHeads(heads), weights.o, weights.oBias);
  });
}

/**
 * How an attention layer would run over whole sequences: its path and its plan. Runs nothing.
 *
 * @param query shape [B, heads, Lq, headDim]
 * @param key shape [B, keyValueHeads, Lk, headDim]
 * @throws TopKError UNSUPPORTED for a layer whose attention is a function; DOES_NOT_FIT
 */
export function explainAttention(
  backend: Backend,
  { path, choice, scale, sequence }: HeadAttention,
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
