import {
  add,
  arange,
  cast,
  concat,
  exp,
  log,
  lt,
  max,
  mul,
  narrow,
  reshape,
  scope,
  sub,
  sum,
  type Tensor,
  takeAlong,
  tensor,
  transpose,
  where,
} from '@topk-attention/core';
import { countBelow } from './count-below.js';
import { chunksOf, pairsAtATime, rowsOfQueries } from './query-chunks.js';
import { uniformNoise } from './random.js';
import { runningSums } from './running-sums.js';
import { withoutGradient } from './without-gradient.js';

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
 * C + M (log C + log Lk) per query; pairs of all queries and keys are never listed, nor those of slots and columns.
 *
 * @param most slots or shares of queries that are in memory at a time; any number gives the same graph
 */
export function sampleGraph(
  rates: EdgeRates,
  slots: number,
  seed: number,
  most: number = pairsAtATime(rates.query.backend),
): Tensor {
  const make = () => [sampled(rates, { slots, seed }, most)] as const;
  const [graph] = withoutGradient('sampleGraph', [rates.query, rates.key], make);
  return graph;
}

interface Draws {
  readonly slots: number;
  readonly seed: number;
}

function sampled({ query, key }: EdgeRates, draws: Draws, most: number): Tensor {
  return scope(() => {
    const [batch, heads, queries, columns] = query.shape as readonly [number, number, number, number];
    const keys = key.shape[2] as number;
    const groups = batch * heads;
    const members = {
      totals: reshape(sum(key, { axes: [2] }), [batch, heads, 1, columns]),
      running: reshape(runningSums(transpose(reshape(key, [groups, keys, columns]), [0, 2, 1])), [
        groups,
        columns * keys,
      ]),
      keys,
    };
    const chunks = chunksOf(queries, groups * Math.max(draws.slots, columns), most);
    const parts = chunks.map((chunk) => {
      query.backend.flush();
      return scope(() => drawnOf(rowsOfQueries(query, chunk), members, draws, chunk.start));
    });
    return concat(parts, 2);
  });
}

interface Members {
  /** Sums over the keys [B, heads, 1, C]. */
  readonly totals: Tensor;
  /** [B heads, C Lk]: running memberships, column by column. */
  readonly running: Tensor;
  readonly keys: number;
}

/** Of queries [B, heads, n, C] from `first` on: i32 [B, heads, n, M]. */
function drawnOf(
  query: Tensor,
  { totals, running, keys }: Members,
  { slots, seed }: Draws,
  first: number,
): Tensor {
  const [batch, heads, queries, columns] = query.shape as readonly [number, number, number, number];
  const { backend } = query;
  const noise = (stream: number, extent: number): Tensor =>
    uniformNoise(backend, seed, stream, [batch, heads, queries, extent], first);

  const shares = scope(() => runningSums(mul(query, totals)));
  const rate = narrow(shares, 3, columns - 1, 1);
  const drawn = poisson(rate, noise(0, 1), slots);

  // The column of each slot: how many running shares, the last one apart, lie below a uniform part of the rate.
  const column = scope(() => {
    const rows = batch * heads * queries;
    const parts = scope(() => reshape(mul(noise(1, slots), rate), [rows, slots]));
    return countBelow(reshape(shares, [rows, columns]), parts, columns - 1);
  });

  const flat = [batch * heads, queries * slots] as const;
  const start = reshape(mul(column, keys), flat);
  const chosen = scope(() => {
    const target = scope(() => {
      const totals = scope(() => takeAlong(running, add(start, keys - 1)));
      return mul(reshape(noise(2, slots), flat), totals);
    });
    return reshape(countBelow(running, target, keys - 1, start), [batch, heads, queries, slots]);
  });
  return where(lt(reshape(arange(backend, slots), [1, 1, 1, slots]), drawn), chosen, -1);
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
  return scope(() => {
    const chances = scope(() => {
      const safe = max(rate, 1e-30);
      const powers = scope(() => sub(mul(counts, log(safe)), safe));
      return exp(sub(powers, constants));
    });
    const below = scope(() => lt(runningSums(chances), noise));
    chances.dispose();
    return sum(cast(below, 'i32'), { axes: [3], keepDims: true });
  });
}
