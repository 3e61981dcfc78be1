import {
  add,
  arange,
  cast,
  custom,
  exp,
  gatherRows,
  log,
  logicalAnd,
  lt,
  max,
  min,
  mul,
  narrow,
  reshape,
  scope,
  sub,
  sum,
  type Tensor,
  tensor,
  transpose,
  where,
} from '@topk-attention/core';
import { uniformNoise } from './random.js';
import { runningSums } from './running-sums.js';

/** Rates of edges as products of memberships: the expected number of edges from i to j is (query key^T)_ij. */
export interface EdgeRates {
  /** [B, heads, Lq, C], nowhere negative. */
  readonly query: Tensor;
  /** [B, heads, Lk, C], nowhere negative; zeros for a key that is hidden. */
  readonly key: Tensor;
}

/**
 * A random graph with those rates: i32 [B, heads, Lq, M], -1 where a slot is unused. As fastRG makes it, query by query: a
 * Poisson number of edges, for each a column by its share, for that a key by its membership. At most M are
 * drawn; a key that is drawn twice is listed twice, which `graphAttention` counts once. It has no gradient. Costs
 * M (C + log Lk) per query; pairs of all queries and keys are never listed.
 */
export function sampleGraph(rates: EdgeRates, slots: number, seed: number): Tensor {
  const [graph] = custom(
    'sampleGraph',
    [rates.query, rates.key],
    () => ({ outputs: [sampled(rates, slots, seed)], saved: [] }),
    () => [undefined, undefined],
  );
  return graph as Tensor;
}

function sampled({ query, key }: EdgeRates, slots: number, seed: number): Tensor {
  return scope(() => {
    const [batch, heads, queries, columns] = query.shape as readonly [number, number, number, number];
    const keys = key.shape[2] as number;
    const { backend } = query;
    const noise = (stream: number, extent: number): Tensor =>
      uniformNoise(backend, seed, stream, [batch, heads, queries, extent]);

    const totals = reshape(sum(key, { axes: [2] }), [batch, heads, 1, columns]);
    const shares = runningSums(mul(query, totals));
    const rate = narrow(shares, 3, columns - 1, 1);
    const drawn = poisson(rate, noise(0, 1), slots);

    // The column of each slot: how many running shares lie below a uniform part of the rate.
    const part = reshape(mul(noise(1, slots), rate), [batch, heads, queries, slots, 1]);
    const across = reshape(shares, [batch, heads, queries, 1, columns]);
    const below = sum(cast(lt(across, part), 'i32'), { axes: [4] });
    const column = min(below, columns - 1);

    const groups = batch * heads;
    // [groups, C Lk, 1]: running memberships, column by column.
    const running = runningSums(transpose(reshape(key, [groups, keys, columns]), [0, 2, 1]));
    const table = reshape(running, [groups, columns * keys, 1]);
    const start = reshape(mul(column, keys), [groups, queries * slots]);
    const look = (at: Tensor): Tensor => reshape(gatherRows(table, at), [groups, queries * slots]);
    const target = mul(reshape(noise(2, slots), [groups, queries * slots]), look(add(start, keys - 1)));
    let low = mul(start, 0);
    for (let step = 2 ** Math.ceil(Math.log2(Math.max(2, keys))) / 2; step >= 1; step /= 2) {
      // The largest number of entries that all lie below the target, by halving.
      const next = min(add(low, step), keys - 1);
      const isBelow = lt(look(add(start, sub(next, 1))), target);
      low = where(isBelow, next, low);
    }
    // The last step: the entry itself may lie below.
    const own = where(logicalAnd(lt(look(add(start, low)), target), lt(low, keys - 1)), add(low, 1), low);
    const chosen = reshape(own, [batch, heads, queries, slots]);
    return where(lt(reshape(arange(backend, slots), [1, 1, 1, slots]), drawn), chosen, -1);
  });
}

/** Poisson numbers of at most `most` by inversion; rate and noise [B, heads, Lq, 1], the result i32. */
function poisson(rate: Tensor, noise: Tensor, most: number): Tensor {
  const logFactorials = new Float64Array(most);
  for (let n = 1; n < most; n++) logFactorials[n] = (logFactorials[n - 1] as number) + Math.log(n);
  const counts = tensor(
    rate.backend,
    Float64Array.from({ length: most }, (_, n) => n),
    [1, 1, 1, most],
  );
  const constants = tensor(rate.backend, logFactorials, [1, 1, 1, most]);
  const safe = max(rate, 1e-30);
  const chances = exp(sub(sub(mul(counts, log(safe)), safe), constants));
  return sum(cast(lt(runningSums(chances), noise), 'i32'), { axes: [3], keepDims: true });
}
