import {
  add,
  arange,
  type Backend,
  concat,
  div,
  exp,
  fill,
  le,
  matmul,
  max,
  mul,
  narrow,
  reshape,
  scope,
  sub,
  type Tensor,
  TopKError,
  where,
} from '@topk-attention/core';

/** Features of queries and keys, and values. Hidden keys have features and values of 0, and gates of 1. */
export interface GatedInputs {
  /** [B, heads, Lq, F] */
  readonly query: Tensor;
  /** [B, keyValueHeads, Lk, F] */
  readonly key: Tensor;
  /** [B, keyValueHeads, Lk, D] */
  readonly value: Tensor;
  /** Logarithms of gates [B, keyValueHeads, Lk, 1], at most 0: each token's gate multiplies all sums before it. */
  readonly logGates: Tensor;
}

export interface GatedOptions {
  /** Tokens per chunk; the last chunk may be shorter. */
  readonly chunk: number;
  /** Smallest denominator. */
  readonly floor: number;
}

export interface GatedResult {
  /** [B, heads, Lq, D] */
  readonly output: Tensor;
  /** Sums over all keys [B keyValueHeads, F, D + 1], with a last column of weights. */
  readonly state: Tensor;
}

/**
 * Causal linear attention whose sums are gated, by chunks: phi(q) (sum of gates phi(k) v^T) over phi(q) . sum of gates phi(k).
 * The last query is at the last key. Core's `linearAttention` could have gates as log scales, by one running sum over all
 * tokens: in f32 that loses digits with the length, where sums of a chunk do not.
 *
 * @param state sums over the keys before the given ones, as returned
 * @throws TopKError SHAPE_MISMATCH for more queries than keys.
 */
export function gatedAttention(
  inputs: GatedInputs,
  { chunk, floor }: GatedOptions,
  state?: Tensor,
): GatedResult {
  const { query, key, value, logGates } = inputs;
  const [batch, heads, queries, features] = query.shape as readonly [number, number, number, number];
  const [, keyHeads, keys, width] = value.shape as readonly [number, number, number, number];
  if (queries > keys) {
    throw new TopKError('SHAPE_MISMATCH', 'gated linear attention: more queries than keys', {
      expected: `at most ${keys} queries`,
      got: String(queries),
    });
  }
  return scope(() => {
    const groups = batch * keyHeads;
    const ones = fill(value.backend, 1, [batch, keyHeads, keys, 1], value.dtype);
    const grouped: Grouped = {
      query: reshape(query, [groups, heads / keyHeads, queries, features]),
      key: reshape(key, [groups, keys, features]),
      value: reshape(concat([value, ones], 3), [groups, keys, width + 1]),
      logGates: reshape(logGates, [groups, keys, 1]),
    };
    const made = gatedSums(grouped, chunk, state);
    const sums = reshape(made.output, [batch, heads, queries, width + 1]);
    const total = narrow(sums, 3, width, 1);
    return { output: div(narrow(sums, 3, 0, width), max(total, floor)), state: made.state };
  });
}

interface Grouped {
  /** [N, g, Lq, F] */
  readonly query: Tensor;
  /** [N, Lk, F] */
  readonly key: Tensor;
  /** [N, Lk, D] */
  readonly value: Tensor;
  /** [N, Lk, 1] */
  readonly logGates: Tensor;
}

function gatedSums({ query, key, value, logGates }: Grouped, chunk: number, before?: Tensor): GatedResult {
  const [groups, count, queries, features] = query.shape as readonly [number, number, number, number];
  const [, keys, width] = value.shape as readonly [number, number, number];
  const triangle = lowerTriangle(key.backend, Math.min(chunk, keys));
  let state = before;
  /** Takes the keys from `start` on into the sums. */
  const take = (start: number, length: number): void => {
    const [own, content] = [narrow(key, 1, start, length), narrow(value, 1, start, length)];
    const total = totalGates(logGates, start, length, triangle);
    const last = narrow(total, 1, length - 1, 1);
    const sums = matmul(mul(own, exp(sub(last, total))), content, { transposeA: true });
    state = state === undefined ? sums : add(mul(state, exp(last)), sums);
  };
  const first = keys - queries;
  for (let start = 0; start < first; start += chunk) take(start, Math.min(chunk, first - start));
  const outputs: Tensor[] = [];
  for (let start = 0; start < queries; start += chunk) {
    const length = Math.min(chunk, queries - start);
    const rows = reshape(narrow(query, 2, start, length), [groups, count * length, features]);
    const corner = narrow(narrow(triangle, 0, 0, length), 1, 0, length);
    const pairs = reshape(matmul(rows, narrow(key, 1, first + start, length), { transposeB: true }), [
      groups,
      count,
      length,
      length,
    ]);
    const total = totalGates(logGates, first + start, length, triangle);
    const seen = where(corner, mul(pairs, decays(total, corner)), 0);
    const own = reshape(
      matmul(reshape(seen, [groups, count * length, length]), narrow(value, 1, first + start, length)),
      [groups, count, length, width],
    );
    if (state === undefined) outputs.push(own);
    else {
      const earlier = reshape(matmul(rows, state), [groups, count, length, width]);
      outputs.push(add(own, mul(earlier, exp(reshape(total, [groups, 1, length, 1])))));
    }
    take(first + start, length);
  }
  // There is at least one query.
  return { output: concat(outputs, 2), state: state as Tensor };
}

/** Sums of the logarithms of gates, from the start of a chunk to each of its tokens: [N, n, 1]. */
function totalGates(logGates: Tensor, start: number, length: number, triangle: Tensor): Tensor {
  const corner = where(narrow(narrow(triangle, 0, 0, length), 1, 0, length), 1, 0);
  return matmul(corner, narrow(logGates, 1, start, length));
}

/** Products of the gates after key j up to query i, for j <= i: [N, 1, n, n]. */
function decays(total: Tensor, corner: Tensor): Tensor {
  const [groups, length] = total.shape as readonly [number, number];
  const differences = sub(reshape(total, [groups, 1, length, 1]), reshape(total, [groups, 1, 1, length]));
  return exp(where(corner, differences, 0));
}

/** [length, length]: true where a query sees a key of its own chunk. */
function lowerTriangle(backend: Backend, length: number): Tensor {
  const places = arange(backend, length);
  return le(reshape(places, [1, length]), reshape(places, [length, 1]));
}
