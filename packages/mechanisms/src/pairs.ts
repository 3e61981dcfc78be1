import {
  add,
  arange,
  cast,
  div,
  dropout,
  eq,
  gatherRows,
  le,
  logicalAnd,
  lt,
  matmul,
  max,
  relativePositionBucket,
  reshape,
  scope,
  sub,
  sum,
  type Tensor,
  tensor,
  transpose,
  where,
} from '@topk-attention/core';
import type { MechanismCall, MechanismOptions } from '@topk-attention/nn';
import { shown } from './inputs.js';
import { type ChunkCall, startOf } from './query-chunks.js';

export interface PairWeights {
  /** Weights of scores [B, heads, Lq, Lk]; `visible` is true where a key is visible, undefined if all are. */
  readonly weigh: (scores: Tensor, visible: Tensor | undefined) => Tensor;
  /**
   * Weights are divided by their sum, or by this if it is larger, and those of hidden keys are 0. Default: they stay as
   * `weigh` made them.
   */
  readonly floor?: number;
}

/**
 * Attention by the weights of all pairs of a chunk of queries (`attendInChunks`), [B, heads, Lq, D]. Honours causality, key
 * lengths, mask, bias, relative bias, dropout of weights and grouped heads. Tensors of all pairs are freed as soon
 * as they are used.
 *
 * @param query [B, heads, Lq, d], scaled
 * @param key [B, keyValueHeads, Lk, d]
 */
export function pairAttention(call: ChunkCall, query: Tensor, key: Tensor, settings: PairWeights): Tensor {
  const [batch, heads, queries] = query.shape as readonly [number, number, number];
  const [, keyHeads, keys] = key.shape as readonly [number, number, number];
  const value = shown(call, call.value);
  const valueDim = value.shape[3] as number;
  return scope(() => {
    const weights = pairWeights(call, query, key, settings);
    const flat = reshape(weights, [batch * keyHeads, (heads / keyHeads) * queries, keys]);
    const made = matmul(flat, reshape(value, [batch * keyHeads, keys, valueDim]));
    return reshape(made, [batch, heads, queries, valueDim]);
  });
}

function pairWeights(call: ChunkCall, query: Tensor, key: Tensor, { weigh, floor }: PairWeights): Tensor {
  const { dropout: dropping } = call.options;
  return scope(() => {
    const visible = visiblePairs(call);
    const scores = pairScores(call, query, key);
    const all = weigh(scores, visible);
    scores.dispose();
    const weights = floor === undefined ? all : scope(() => normalised(all, visible, floor));
    if (dropping === undefined || dropping.rate === 0) return weights;
    // By its place in the whole call: the same again in the backward pass, and in chunks of any size.
    return dropout(weights, { ...dropping, offset: [0, 0, call.firstQuery ?? 0, 0] });
  });
}

function normalised(weights: Tensor, visible: Tensor | undefined, floor: number): Tensor {
  const seen = visible === undefined ? weights : where(visible, weights, 0);
  const total = sum(seen, { axes: [3], keepDims: true });
  return div(seen, floor > 0 ? max(total, floor) : where(eq(total, 0), 1, total));
}

/** [B, heads, Lq, Lk], biases included. */
function pairScores(call: MechanismCall, query: Tensor, key: Tensor): Tensor {
  const [batch, heads, queries, width] = query.shape as readonly [number, number, number, number];
  const [, keyHeads, keys] = key.shape as readonly [number, number, number];
  const { bias, relativeBias } = call.options;
  const rows = reshape(query, [batch * keyHeads, (heads / keyHeads) * queries, width]);
  const products = matmul(rows, reshape(key, [batch * keyHeads, keys, width]), { transposeB: true });
  const raw = reshape(products, [batch, heads, queries, keys]);
  products.dispose();
  const biased = bias === undefined ? raw : freeing(raw, add(raw, cast(bias, 'f32')));
  return relativeBias === undefined
    ? biased
    : freeing(
        biased,
        scope(() => add(biased, relativeBiases(call))),
      );
}

function freeing(before: Tensor, after: Tensor): Tensor {
  before.dispose();
  return after;
}

/** bool that broadcasts to [B, heads, Lq, Lk]: which keys each query sees; undefined if all. */
export function visiblePairs(call: MechanismCall): Tensor | undefined {
  const { query, key, options } = call;
  const [batch, , queries] = query.shape as readonly [number, number, number];
  const keys = key.shape[2] as number;
  const across = reshape(arange(query.backend, keys), [1, 1, 1, keys]);
  const parts: Tensor[] = [];
  if (options.keyLengths !== undefined) parts.push(lt(across, reshape(options.keyLengths, [batch, 1, 1, 1])));
  if (options.causal === true) {
    parts.push(le(across, reshape(arange(query.backend, queries, startOf(call)), [1, 1, queries, 1])));
  }
  if (options.mask !== undefined) parts.push(options.mask);
  const [first, ...others] = parts;
  return first && others.reduce((all, one) => logicalAnd(all, one), first);
}

/** T5's biases of all pairs, [1, heads, Lq, Lk]. */
function relativeBiases(call: MechanismCall): Tensor {
  const { query, key, options } = call;
  const { table, bidirectional, maxDistance } = options.relativeBias as NonNullable<
    MechanismOptions['relativeBias']
  >;
  const [buckets, heads] = table.shape as readonly [number, number];
  const [queries, keys] = [query.shape[2] as number, key.shape[2] as number];
  // The table's row of each distance between a query and a key; each pair then looks up its own.
  const distances = queries + keys - 1;
  const first = 1 - queries - startOf(call);
  const rule = { bidirectional, buckets, maxDistance };
  const ofDistance = Int32Array.from({ length: distances }, (_, at) =>
    relativePositionBucket(first + at, rule),
  );
  const rows = gatherRows(
    reshape(cast(table, 'f32'), [1, buckets, heads]),
    tensor(query.backend, ofDistance, [1, distances]),
  );
  const backwards = reshape(sub(queries - 1, arange(query.backend, queries)), [queries, 1]);
  const index = add(backwards, reshape(arange(query.backend, keys), [1, keys]));
  const listed = gatherRows(rows, reshape(index, [1, queries * keys]));
  return reshape(transpose(listed, [0, 2, 1]), [1, heads, queries, keys]);
}
