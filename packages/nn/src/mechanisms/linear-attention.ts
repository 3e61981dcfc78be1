import {
  add,
  cast,
  concat,
  div,
  eq,
  fill,
  matmul,
  mul,
  narrow,
  reshape,
  scope,
  type Tensor,
  TopKError,
  tensor,
  where,
} from '@topk-attention/core';

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

/** Sums over the keys so far, phi(k) (v, 1): [N, r, D + 1]. */
export type LinearState = Tensor;

/**
 * The causal version, with the last query at the last key. Chunk by chunk: all pairs within a chunk, running sums for
 * the keys before it.
 *
 * @param state sums over the keys before the given ones
 * @throws TopKError SHAPE_MISMATCH for more queries than keys.
 */
export function causalLinearAttention(
  inputs: LinearInputs,
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
    let sums = state;
    const take = (start: number, length: number): void => {
      const own = matmul(narrow(key, 1, start, length), narrow(value, 1, start, length), {
        transposeA: true,
      });
      sums = sums === undefined ? own : add(sums, own);
    };
    const triangle = lowerTriangle(key, Math.min(chunk, queries));
    if (before > 0) take(0, before);
    const outputs: Tensor[] = [];
    for (let start = 0; start < queries; start += chunk) {
      const length = Math.min(chunk, queries - start);
      const rows = reshape(narrow(query, 2, start, length), [groups, count * length, features]);
      const current = sums;
      const attended = scope(() => {
        const pairs = matmul(rows, narrow(key, 1, before + start, length), { transposeB: true });
        const corner = narrow(narrow(triangle, 0, 0, length), 1, 0, length);
        const seen = mul(reshape(pairs, [groups, count, length, length]), corner);
        const own = matmul(
          reshape(seen, [groups, count * length, length]),
          narrow(value, 1, before + start, length),
        );
        return current === undefined ? own : add(own, matmul(rows, current));
      });
      outputs.push(reshape(attended, [groups, count, length, width]));
      take(before + start, length);
    }
    // Queries take part in the sums, so there are some.
    return { output: quotientOf(inputs, concat(outputs, 2)), state: sums as Tensor };
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

/** [length, length]: 1 where a query sees a key of its own chunk. */
function lowerTriangle({ backend, dtype }: Tensor, length: number): Tensor {
  const values = Float64Array.from({ length: length * length }, (_, at) =>
    at % length <= Math.floor(at / length) ? 1 : 0,
  );
  return cast(tensor(backend, values, [length, length]), dtype);
}
