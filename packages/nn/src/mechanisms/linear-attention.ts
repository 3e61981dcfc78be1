import {
  add,
  type Backend,
  concat,
  div,
  eq,
  exp,
  fill,
  matmul,
  max,
  maxOver,
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
import { constantOf, finitePeak } from './random-features.js';

/** Features of queries and keys, and values. */
export interface LinearInputs {
  /** [B, heads, Lq, r], nowhere negative. */
  readonly query: Tensor;
  /** [B, keyValueHeads, Lk, r], nowhere negative; zeros for a key that is hidden. */
  readonly key: Tensor;
  /** [B, keyValueHeads, Lk, D] */
  readonly value: Tensor;
}

/** The same, grouped by shared keys: N = B keyValueHeads, g = heads / keyValueHeads. */
interface Grouped {
  /** [N, g, Lq, r] */
  readonly query: Tensor;
  /** [N, Lk, r] */
  readonly key: Tensor;
  /** [N, Lk, D + 1]: values and a column of ones, whose weighted sum is the denominator. */
  readonly value: Tensor;
}

/**
 * Attention whose weights are products of features, phi(q) . phi(k), divided by their sum over the keys: two matrix
 * products, never a matrix of all pairs. [B, heads, Lq, D]; zeros for a query without keys.
 */
export function linearAttention(inputs: LinearInputs): Tensor {
  return scope(() => {
    const { query, key, value } = groupedOf(inputs);
    const [groups, count, queries, features] = query.shape as readonly [number, number, number, number];
    const rows = reshape(query, [groups, count * queries, features]);
    return quotientOf(inputs, matmul(rows, matmul(key, value, { transposeA: true })));
  });
}

export interface CausalInputs extends LinearInputs {
  /**
   * Logarithms of factors [B, keyValueHeads, Lk, 1], constants: the features of a key are exp(peak) times `key`. -inf
   * for a key that is hidden. Default: factors of 1.
   */
  readonly peaks?: Tensor;
}

/** Sums over the keys so far. */
export interface LinearState {
  /** phi(k) (v, 1) over exp(peak): [N, r, D + 1]. */
  readonly sums: Tensor;
  /** The largest peak of those keys [N, 1, 1], if keys have peaks. */
  readonly peak?: Tensor;
}

/**
 * The causal version, with the last query at the last key. Chunk by chunk: all pairs within a chunk, running sums for
 * the keys before it. A row is computed relative to the largest peak of the keys that it sees, so that no later key
 * changes a bit of it.
 *
 * @param state sums over the keys before the given ones
 * @throws TopKError SHAPE_MISMATCH for more queries than keys.
 */
export function causalLinearAttention(
  inputs: CausalInputs,
  chunk: number,
  state?: LinearState,
): { readonly output: Tensor; readonly state: LinearState } {
  const [queries, keys] = [inputs.query.shape[2] as number, inputs.key.shape[2] as number];
  if (queries > keys) {
    throw new TopKError('SHAPE_MISMATCH', 'causal linear attention: more queries than keys', {
      expected: `at most ${keys} queries`,
      got: String(queries),
    });
  }
  return scope(() => {
    const { query, key, value } = groupedOf(inputs);
    const [groups, count, , features] = query.shape as readonly [number, number, number, number];
    const width = value.shape[2] as number;
    const before = keys - queries;
    const peaks = inputs.peaks && reshape(inputs.peaks, [groups, keys, 1]);
    let sumsSoFar = state;
    const take = (start: number, length: number): void => {
      sumsSoFar = sumsWith(
        sumsSoFar,
        narrow(key, 1, start, length),
        narrow(value, 1, start, length),
        peaks && narrow(peaks, 1, start, length),
      );
    };
    const triangle = lowerTriangle(key.backend, Math.min(chunk, queries));
    if (before > 0) take(0, before);
    const outputs: Tensor[] = [];
    for (let start = 0; start < queries; start += chunk) {
      const length = Math.min(chunk, queries - start);
      const rows = reshape(narrow(query, 2, start, length), [groups, count * length, features]);
      const earlier = sumsSoFar;
      const attended = scope(() => {
        const pairs = reshape(matmul(rows, narrow(key, 1, before + start, length), { transposeB: true }), [
          groups,
          count,
          length,
          length,
        ]);
        const corner = narrow(narrow(triangle, 0, 0, length), 1, 0, length);
        const scales = peaks && scalesOf(narrow(peaks, 1, before + start, length), corner, earlier?.peak);
        const seen = where(corner, scales === undefined ? pairs : mul(pairs, scales.own), 0);
        const own = reshape(
          matmul(reshape(seen, [groups, count * length, length]), narrow(value, 1, before + start, length)),
          [groups, count, length, width],
        );
        if (earlier === undefined) return own;
        const others = reshape(matmul(rows, earlier.sums), [groups, count, length, width]);
        return add(own, scales?.earlier === undefined ? others : mul(others, scales.earlier));
      });
      outputs.push(attended);
      take(before + start, length);
    }
    // Queries take part in the sums, so there are some.
    return { output: quotientOf(inputs, concat(outputs, 2)), state: sumsSoFar as LinearState };
  });
}

function groupedOf({ query, key, value }: LinearInputs): Grouped {
  const [batch, heads, queries, features] = query.shape as readonly [number, number, number, number];
  const [, keyHeads, keys, valueDim] = value.shape as readonly [number, number, number, number];
  const groups = batch * keyHeads;
  const ones = fill(value.backend, 1, [batch, keyHeads, keys, 1], value.dtype);
  return {
    query: reshape(query, [groups, heads / keyHeads, queries, features]),
    key: reshape(key, [groups, keys, features]),
    value: reshape(concat([value, ones], 3), [groups, keys, valueDim + 1]),
  };
}

/** Sums [..., D + 1] divided by their last column, as [B, heads, Lq, D]. */
function quotientOf({ query, value }: LinearInputs, sums: Tensor): Tensor {
  const [batch, heads, queries] = query.shape as readonly [number, number, number, number];
  const width = value.shape[3] as number;
  const all = reshape(sums, [batch, heads, queries, width + 1]);
  const total = narrow(all, 3, width, 1);
  // No key: 0 / 1.
  return div(narrow(all, 3, 0, width), where(eq(total, 0), 1, total));
}

/** The sums with those of further keys [N, n, r] and values [N, n, D + 1]; peaks [N, n, 1]. */
function sumsWith(
  before: LinearState | undefined,
  key: Tensor,
  value: Tensor,
  peaks: Tensor | undefined,
): LinearState {
  if (peaks === undefined) {
    const own = matmul(key, value, { transposeA: true });
    return { sums: before === undefined ? own : add(before.sums, own) };
  }
  const { peak: old } = before ?? {};
  const peak = constantOf(old === undefined ? [peaks] : [peaks, old], () => {
    const own = maxOver(peaks, { axes: [1], keepDims: true });
    return old === undefined ? own : max(own, old);
  });
  const factors = constantOf([peaks, peak], () => exp(sub(peaks, finitePeak(peak))));
  const own = matmul(mul(key, factors), value, { transposeA: true });
  if (before === undefined || old === undefined) return { sums: own, peak };
  const rescale = constantOf([old, peak], () => exp(sub(old, finitePeak(peak))));
  return { sums: add(mul(before.sums, rescale), own), peak };
}

/**
 * exp(peak of a key - largest peak that the query sees) for the pairs of a chunk [N, 1, n, n], where seen, and the same
 * for the sums over earlier keys [N, 1, n, 1].
 *
 * @param peaks [N, n, 1]
 * @param corner [n, n], true where a query sees a key
 * @param before the largest peak of the earlier keys [N, 1, 1]
 */
function scalesOf(
  peaks: Tensor,
  corner: Tensor,
  before: Tensor | undefined,
): { readonly own: Tensor; readonly earlier?: Tensor } {
  const [groups, length] = peaks.shape as readonly [number, number, number];
  const across = reshape(peaks, [groups, 1, 1, length]);
  const old = before && reshape(before, [groups, 1, 1, 1]);
  const largest = constantOf(old === undefined ? [across] : [across, old], () => {
    const own = maxOver(where(corner, across, Number.NEGATIVE_INFINITY), { axes: [3], keepDims: true });
    return finitePeak(old === undefined ? own : max(own, old));
  });
  // Where the key is not seen this may be infinite.
  const own = constantOf([across, largest], () => where(corner, exp(sub(across, largest)), 0));
  return old === undefined
    ? { own }
    : { own, earlier: constantOf([old, largest], () => exp(sub(old, largest))) };
}

/** [length, length]: true where a query sees a key of its own chunk. */
function lowerTriangle(backend: Backend, length: number): Tensor {
  const values = Array.from({ length: length * length }, (_, at) => at % length <= Math.floor(at / length));
  return tensor(backend, values, [length, length]);
}
