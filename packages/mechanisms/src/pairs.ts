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
  sub,
  sum,
  type Tensor,
  tensor,
  transpose,
  where,
} from '@topk-attention/core';
import type { MechanismCall, MechanismOptions } from '@topk-attention/nn';
import { shown } from './inputs.js';

/**
 * Attention by the weights of all pairs, [B, heads, Lq, D]: memory in the square of the length. Honours causality, key
 * lengths, mask, bias, relative bias, dropout of weights and grouped heads.
 *
 * @param query [B, heads, Lq, d], scaled
 * @param key [B, keyValueHeads, Lk, d]
 * @param weigh weights of scores [B, heads, Lq, Lk]; `hidden` is true where a key is visible, undefined if all are
 * @param sums divides weights by their sum, or by `floor` if that is larger; 'none' leaves them. Those of hidden keys are 0.
 */
export function pairAttention(
  call: MechanismCall,
  query: Tensor,
  key: Tensor,
  weigh: (scores: Tensor, visible: Tensor | undefined) => Tensor,
  sums: 'none' | { readonly floor: number },
): Tensor {
  const { options } = call;
  const [batch, heads, queries, width] = query.shape as readonly [number, number, number, number];
  const [, keyHeads, keys] = key.shape as readonly [number, number, number];
  const value = shown(call, call.value);
  const rows = reshape(query, [batch * keyHeads, (heads / keyHeads) * queries, width]);
  const products = matmul(rows, reshape(key, [batch * keyHeads, keys, width]), { transposeB: true });
  const raw = reshape(products, [batch, heads, queries, keys]);
  const biased = options.bias === undefined ? raw : add(raw, cast(options.bias, 'f32'));
  const scores = options.relativeBias === undefined ? biased : add(biased, relativeBiases(call));
  const visible = visiblePairs(call);
  const all = weigh(scores, visible);
  const seen = visible === undefined ? all : where(visible, all, 0);
  let weights = seen;
  if (sums !== 'none') {
    const total = sum(seen, { axes: [3], keepDims: true });
    weights = div(seen, sums.floor > 0 ? max(total, sums.floor) : where(eq(total, 0), 1, total));
  }
  if (options.dropout !== undefined) weights = dropout(weights, options.dropout);
  const flat = reshape(weights, [batch * keyHeads, (heads / keyHeads) * queries, keys]);
  const valueDim = value.shape[3] as number;
  const made = matmul(flat, reshape(value, [batch * keyHeads, keys, valueDim]));
  return reshape(made, [batch, heads, queries, valueDim]);
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

/** The place of the first query among the keys. */
function startOf({ query, key, options }: MechanismCall): number {
  return options.queryStart ?? (key.shape[2] as number) - (query.shape[2] as number);
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
