import {
  add,
  type Backend,
  concat,
  div,
  dropout,
  eq,
  exp,
  fill,
  matmul,
  max,
  mul,
  narrow,
  reshape,
  scope,
  sub,
  type Tensor,
  TopKError,
  tensor,
  where,
} from '@topk-attention/core';
import type { MechanismOptions } from '@topk-attention/nn';

/** Features of queries and keys, and values. Hidden keys have features and values of 0. */
export interface LinearInputs {
  /** [B, heads, Lq, F] */
  readonly query: Tensor;
  /** [B, keyValueHeads, Lk, F] */
  readonly key: Tensor;
  /** [B, keyValueHeads, Lk, D] */
  readonly value: Tensor;
}

export interface LinearOptions {
  /** Whether a query sees no later keys; the last query is at the last key. Default false. */
  readonly causal?: boolean;
  /** Tokens per chunk of causal sums; the last chunk may be shorter. Default 128. */
  readonly chunk?: number;
  /** Whether sums are divided by those of the weights. Default true. */
  readonly normalise?: boolean;
  /** Smallest denominator. Default 0: none, and a query without keys gives zeros. */
  readonly floor?: number;
  /** Logarithms of gates [B, keyValueHeads, Lk, 1], at most 0: each token's gate multiplies all sums before it. */
  readonly logGates?: Tensor;
  /** Sums over the keys before the given ones, as returned. */
  readonly state?: Tensor;
  /** Drops whole moments, the features' sums, of each example and head; denominators keep all. */
  readonly dropout?: MechanismOptions['dropout'];
}

export interface LinearResult {
  /** [B, heads, Lq, D] */
  readonly output: Tensor;
  /** Sums over all keys [B keyValueHeads, F, D], with a last column of weights if normalised. */
  readonly state: Tensor;
}

/**
 * Attention whose weights are products of features: phi(q) (phi(k)^T v), over phi(q) . sum phi(k) if normalised. Linear
 * in the number of tokens; causally by chunks, with sums carried from one to the next.
 *
 * @throws TopKError SHAPE_MISMATCH for features of different widths, or more queries than keys if causal.
 */
export function linearAttention(inputs: LinearInputs, options: LinearOptions = {}): LinearResult {
  const { normalise = true, floor = 0, dropout: drop } = options;
  requireFit(inputs, options);
  return scope(() => {
    const { query, value } = inputs;
    const width = value.shape[3] as number;
    const kept = drop === undefined ? query : mul(query, keptMoments(query, drop));
    if (!normalise) return sumsOf({ ...inputs, query: kept }, options);
    const ones = fill(value.backend, 1, [...value.shape.slice(0, 3), 1], value.dtype);
    let sums: LinearResult;
    if (drop === undefined) sums = sumsOf({ ...inputs, value: concat([value, ones], 3) }, options);
    else {
      const part = (start: number, length: number): LinearOptions =>
        options.state === undefined
          ? options
          : { ...options, state: narrow(options.state, 2, start, length) };
      const over = sumsOf({ ...inputs, query: kept }, part(0, width));
      const under = sumsOf({ ...inputs, value: ones }, part(width, 1));
      sums = {
        output: concat([over.output, under.output], 3),
        state: concat([over.state, under.state], 2),
      };
    }
    const total = narrow(sums.output, 3, width, 1);
    const divisor = floor > 0 ? max(total, floor) : where(eq(total, 0), 1, total);
    return { output: div(narrow(sums.output, 3, 0, width), divisor), state: sums.state };
  });
}

/** [B, heads, 1, F]: 0 for a moment that is dropped. */
function keptMoments(query: Tensor, drop: NonNullable<LinearOptions['dropout']>): Tensor {
  const [batch, heads, , features] = query.shape as readonly [number, number, number, number];
  return dropout(fill(query.backend, 1, [batch, heads, 1, features], query.dtype), drop);
}

/** Weighted sums of the values. */
function sumsOf(inputs: LinearInputs, options: LinearOptions): LinearResult {
  const [batch, heads, queries, features] = inputs.query.shape as readonly [number, number, number, number];
  const [, keyHeads, keys, width] = inputs.value.shape as readonly [number, number, number, number];
  const groups = batch * keyHeads;
  const count = heads / keyHeads;
  const query = reshape(inputs.query, [groups, count, queries, features]);
  const key = reshape(inputs.key, [groups, keys, features]);
  const value = reshape(inputs.value, [groups, keys, width]);
  if (options.causal !== true) {
    const own = matmul(key, value, { transposeA: true });
    const state = options.state === undefined ? own : add(options.state, own);
    const rows = reshape(query, [groups, count * queries, features]);
    return { output: reshape(matmul(rows, state), [batch, heads, queries, width]), state };
  }
  const logGates = options.logGates && reshape(options.logGates, [groups, keys, 1]);
  const made = causalSums({ query, key, value, logGates }, options.chunk ?? 128, options.state);
  return { output: reshape(made.output, [batch, heads, queries, width]), state: made.state };
}

interface Grouped {
  /** [N, g, Lq, F] */
  readonly query: Tensor;
  /** [N, Lk, F] */
  readonly key: Tensor;
  /** [N, Lk, D] */
  readonly value: Tensor;
  /** [N, Lk, 1] */
  readonly logGates: Tensor | undefined;
}

function causalSums({ query, key, value, logGates }: Grouped, chunk: number, before?: Tensor): LinearResult {
  const [groups, count, queries, features] = query.shape as readonly [number, number, number, number];
  const [, keys, width] = value.shape as readonly [number, number, number];
  const triangle = lowerTriangle(key.backend, Math.min(chunk, keys));
  let state = before;
  /** Takes the keys from `start` on into the sums. */
  const take = (start: number, length: number): void => {
    const [own, content] = [narrow(key, 1, start, length), narrow(value, 1, start, length)];
    if (logGates === undefined) {
      const sums = matmul(own, content, { transposeA: true });
      state = state === undefined ? sums : add(state, sums);
      return;
    }
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
    const total = logGates && totalGates(logGates, first + start, length, triangle);
    const seen = where(corner, total === undefined ? pairs : mul(pairs, decays(total, corner)), 0);
    const own = reshape(
      matmul(reshape(seen, [groups, count * length, length]), narrow(value, 1, first + start, length)),
      [groups, count, length, width],
    );
    if (state === undefined) outputs.push(own);
    else {
      const earlier = reshape(matmul(rows, state), [groups, count, length, width]);
      const faded = total === undefined ? earlier : mul(earlier, exp(reshape(total, [groups, 1, length, 1])));
      outputs.push(add(own, faded));
    }
    take(first + start, length);
  }
  // There is at least one query.
  return { output: concat(outputs, 2), state: state as Tensor };
}

/** Sums of the logarithms of gates, from the start of a chunk to each of its tokens: [N, n, 1]. */
function totalGates(logGates: Tensor, start: number, length: number, triangle: Tensor): Tensor {
  const corner = where(
    narrow(narrow(triangle, 0, 0, length), 1, 0, length),
    1,
    fill(logGates.backend, 0, [1]),
  );
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
  const values = Array.from({ length: length * length }, (_, at) => at % length <= Math.floor(at / length));
  return tensor(backend, values, [length, length]);
}

function requireFit({ query, key, value }: LinearInputs, { causal }: LinearOptions): void {
  const [queries, keys] = [query.shape[2] as number, key.shape[2] as number];
  if (query.shape[3] !== key.shape[3]) {
    throw new TopKError('SHAPE_MISMATCH', 'linear attention: features of different widths', {
      expected: `${query.shape[3]} features of keys`,
      got: String(key.shape[3]),
    });
  }
  if (keys !== value.shape[2] || (causal === true && queries > keys)) {
    throw new TopKError('SHAPE_MISMATCH', 'linear attention: lengths do not fit', {
      expected: causal === true ? 'as many values as keys, and no more queries' : 'as many values as keys',
      got: `${queries} queries, ${keys} keys and ${value.shape[2]} values`,
    });
  }
}
