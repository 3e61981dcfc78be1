import {
  type DeviceLimits,
  matmul,
  mul,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from '@topk-attention/core';
import type { MechanismCall, MechanismOptions, ParameterTree } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { attendAll } from '../src/entmax.js';
import { entmaxOverGraph } from '../src/graph.js';
import { graphCounts } from '../src/graph-quality.js';
import { passedEdges } from '../src/passed-edges.js';
import { predictedGraph } from '../src/predicted-graph.js';
import { drawnPairs } from '../src/predictor-loss.js';
import { attendInChunks, chunksOf, pairsAtATime } from '../src/query-chunks.js';
import { sampleGraph } from '../src/sample-graph.js';
import { callOf, withLimits } from './support/calls.js';
import { backend } from './support/goldens.js';
import { expectClose } from './support/laws.js';
import { randomNumbers, randomTensor } from './support/random.js';

const [batch, heads, queries, keys, width] = [2, 4, 7, 9, 3];
/** Chunks of 3, 3 and 1 queries. */
const pairs = 3 * batch * heads * keys;

const tensors: ParameterTree = {
  query: mul(randomTensor(backend, 1, batch, heads, queries, width), 3),
  key: mul(randomTensor(backend, 2, batch, heads, keys, width), 2),
  value: randomTensor(backend, 3, batch, heads, keys, width),
};
const cotangent = randomTensor(backend, 4, batch, heads, queries, width);

/** Values and gradients of all parameters are the same in chunks as at once. */
async function expectSame(
  parameters: ParameterTree,
  run: (of: ParameterTree, most?: number) => Tensor,
  most: number,
): Promise<void> {
  const resultsOf = (size?: number): readonly [output: Tensor, gradients: ParameterTree] => {
    const output = run(parameters, size);
    const { gradients } = valueAndGrad((of: ParameterTree) => sum(mul(run(of, size), cotangent)))(parameters);
    return [output, gradients];
  };
  const [[output, gradients], [whole, wanted]] = [resultsOf(most), resultsOf()];
  await expectClose(output, whole, 12);
  for (const [name, gradient] of Object.entries(wanted)) {
    const size = Number((await sum(mul(gradient, gradient)).data())[0]);
    expect(size, name).toBeGreaterThan(1e-6);
    await expectClose(gradients[name] as Tensor, gradient, 10);
  }
}

describe('chunks', () => {
  test.each([
    [1, 1, 1],
    [7, 5, 4],
    [7, 5, 15],
    [100, 3, 100],
    [100, 3, 1e9],
    [0, 4, 8],
    [6, 0, 8],
  ])('%i queries of %i numbers, at most %i: all of them once, in order', (count, perQuery, most) => {
    const chunks = chunksOf(count, perQuery, most);
    let next = 0;
    for (const { start, size } of chunks) {
      expect(start).toBe(next);
      // A single query may take more.
      if (size > 1) expect(size * perQuery).toBeLessThanOrEqual(most);
      next += size;
    }
    expect(next).toBe(count);
    const least = Math.ceil(count / Math.max(1, Math.floor(most / Math.max(1, perQuery))));
    expect(chunks.length).toBeLessThanOrEqual(Math.max(1, least));
  });

  test.each<readonly [expected: number, limits: Partial<DeviceLimits>, budgetBytes: number | undefined]>([
    [2 ** 24, {}, undefined],
    [2 ** 24, {}, 2 ** 40],
    [2 ** 22, {}, 2 ** 27],
    [2 ** 27, { chunkTensorBytes: 2 ** 29 }, undefined],
    [2 ** 26, { chunkTensorBytes: 2 ** 29, maxBufferBytes: 2 ** 28 }, undefined],
    [2 ** 25, { chunkTensorBytes: 2 ** 29 }, 2 ** 30],
    [1, {}, 1],
  ])('hold %i numbers where the limits are %o and the budget is %s', (expected, limits, budgetBytes) => {
    const run = budgetBytes === undefined ? {} : { budgetBytes };
    expect(pairsAtATime(withLimits(limits), run)).toBe(expected);
  });

  test('of entmax are as many as the bound says, and hold consecutive queries', () => {
    const sizes: (readonly [size: number, first: number | undefined, start: number | undefined])[] = [];
    attendInChunks(
      callOf(tensors, {}),
      (part) => {
        sizes.push([part.query.shape[2] as number, part.firstQuery, part.options.queryStart]);
        return part.query.alias();
      },
      pairs,
    );
    expect(sizes).toEqual([
      [3, 0, 2],
      [3, 3, 5],
      [1, 6, 8],
    ]);
  });
});

const random = (seed: number, ...shape: readonly number[]): Tensor =>
  mul(randomTensor(backend, seed, ...shape), 2);
const boolean = (seed: number, ...shape: readonly number[]): Tensor => {
  const next = randomNumbers(seed);
  const count = shape.reduce((all, one) => all * one, 1);
  return tensor(
    backend,
    Array.from({ length: count }, () => next() > -0.6),
    shape,
  );
};

const optionsOf: Readonly<Record<string, MechanismOptions>> = {
  none: {},
  scale: { scale: 0.3 },
  causal: { causal: true },
  'causal, from the first key on': { causal: true, queryStart: 0 },
  'causal, from the second key on': { causal: true, queryStart: 1 },
  'key lengths': { keyLengths: tensor(backend, Int32Array.of(4, 9), [2]) },
  'a mask of keys': { mask: boolean(5, batch, 1, 1, keys) },
  'a mask of pairs': { mask: boolean(6, 1, heads, queries, keys) },
  'a mask of queries': { mask: boolean(7, batch, 1, queries, 1) },
};

const biases: Readonly<Record<string, Tensor>> = {
  keys: random(8, 1, heads, 1, keys),
  pairs: random(9, batch, 1, queries, keys),
  queries: random(10, 1, 1, queries, 1),
};

describe('entmax in chunks is entmax', () => {
  test.each(Object.entries(optionsOf))('%s', (_, options) =>
    expectSame(tensors, (of, most) => attendAll(callOf(of, options), most), pairs),
  );

  test.each(['keys', 'pairs'] as const)('a bias of %s, with its gradient', async (name) => {
    const parameters = { ...tensors, bias: biases[name] as Tensor };
    const run = (of: ParameterTree, most?: number): Tensor =>
      attendAll(callOf(of, { bias: of.bias as Tensor, causal: true }), most);
    await expectSame(parameters, run, pairs);
  });

  test('a bias of queries changes nothing', async () => {
    const options = { bias: biases.queries as Tensor };
    await expectClose(attendAll(callOf(tensors, options), pairs), attendAll(callOf(tensors, {})), 12);
  });

  test.each([true, false])('a table of relative biases: bidirectional %s', async (bidirectional) => {
    const parameters = { ...tensors, table: random(11, 8, heads) };
    const run = (of: ParameterTree, most?: number): Tensor => {
      const relativeBias = { table: of.table as Tensor, bidirectional, maxDistance: 6 };
      return attendAll(callOf(of, { relativeBias, queryStart: 1 }), most);
    };
    await expectSame(parameters, run, pairs);
  });

  test('dropout drops the same pairs, again in the backward pass', async () => {
    const options = { dropout: { rate: 0.4, seed: 5 } };
    await expectSame(tensors, (of, most) => attendAll(callOf(of, options), most), pairs);
    const [some, none] = [attendAll(callOf(tensors, options)), attendAll(callOf(tensors, {}))];
    const [a, b] = await Promise.all([some.data(), none.data()]);
    expect(a.some((one, at) => Math.abs(Number(one) - Number(b[at])) > 0.1)).toBe(true);
  });

  test('grouped heads, padding and a mask at once', async () => {
    const own = {
      query: tensors.query as Tensor,
      key: random(12, batch, 2, keys, width),
      value: random(13, batch, 2, keys, width),
    };
    const options = {
      causal: true,
      keyLengths: tensor(backend, Int32Array.of(9, 6), [2]),
      mask: boolean(14, batch, heads, queries, keys),
    };
    await expectSame(own, (of, most) => attendAll(callOf(of, options), most), pairs);
  });

  test('one query at a time, where the bound is below that', () =>
    expectSame(tensors, (of, most) => attendAll(callOf(of, { causal: true }), most), 1));

  test('dropped weights have the mean of all', async () => {
    const [rows, columns] = [200, 100];
    const call = callOf(
      {
        query: zeros(backend, [1, 1, rows, 2]),
        key: zeros(backend, [1, 1, columns, 2]),
        value: tensor(backend, new Float64Array(columns).fill(1), [1, 1, columns, 1]),
      },
      { dropout: { rate: 0.25, seed: 9 } },
    );
    const sums = Array.from(await attendAll(call, 1000).data(), Number);
    const mean = sums.reduce((all, one) => all + one, 0) / rows;
    // 20,000 draws: a deviation of sqrt(0.25 / 0.75 / 20,000).
    expect(Math.abs(mean - 1)).toBeLessThan(4 * 0.0041);
    expect(new Set(sums).size).toBeGreaterThan(10);
  });
});

describe('graphs in chunks are those of all queries', () => {
  const context: ParameterTree = {
    projection: random(15, heads, 2, width),
    centroids: random(16, heads, 5, 2),
  };
  const settings = { edges: 4, buckets: 4, nearest: 1, radius: 2, window: 1, first: 1 };
  const keyLengths = tensor(backend, Int32Array.of(9, 5), [2]);
  const mask = boolean(17, 1, 1, queries, keys);
  const calls: Readonly<Record<string, MechanismCall>> = {
    plain: callOf(tensors, {}, context),
    causal: callOf(tensors, { causal: true, keyLengths }, context),
    masked: callOf(tensors, { mask }, context),
  };

  for (const [name, call] of Object.entries(calls)) {
    test.each(['buckets', 'clusters', 'distance'] as const)(`predicted, ${name}: by %s`, async (by) => {
      const whole = predictedGraph(call, { ...settings, by });
      await expectClose(predictedGraph(call, { ...settings, by }, pairs), whole, 12);
      const [counts, ofChunks] = [graphCounts(call, whole), graphCounts(call, whole, pairs)];
      await expectClose(ofChunks, counts, 12);
    });

    test(`keys of the predictor's loss, ${name}`, async () => {
      const whole = drawnPairs(call, 3);
      const ofChunks = drawnPairs(call, 3, pairs);
      for (const at of [0, 1] as const) await expectClose(ofChunks[at], whole[at], 12);
    });
  }

  test('keys are drawn evenly, one of the support and one of the others, independently', async () => {
    const rows = 6000;
    // Keys 1, 4 and 6 are the support, key 5 is hidden.
    const scores = Float64Array.from({ length: 8 }, (_, key) => ([1, 4, 6].includes(key) ? 3 : 0));
    const call = callOf(
      {
        query: tensor(backend, new Float64Array(rows).fill(1), [1, 1, rows, 1]),
        key: tensor(backend, scores, [1, 1, 8, 1]),
        value: zeros(backend, [1, 1, 8, 1]),
      },
      { mask: tensor(backend, [true, true, true, true, true, false, true, true], [1, 1, 1, 8]) },
    );
    const [positive, negative] = await Promise.all(drawnPairs(call, 4).map((one) => one.data()));
    const counts = new Map<string, number>();
    for (const [row, key] of Array.from(positive as ArrayLike<number>).entries()) {
      const pair = `${key} ${negative?.[row]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + 1);
    }
    const pairsOf = [1, 4, 6].flatMap((key) => [0, 2, 3, 7].map((other) => `${key} ${other}`));
    expect([...counts.keys()].sort()).toEqual(pairsOf.sort());
    // Chi-squared of 11 degrees: above 31 once in a thousand.
    const expected = rows / pairsOf.length;
    const apart = [...counts.values()].reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
    expect(apart).toBeLessThan(31);
  });

  test('entmax over a graph', async () => {
    const graph = predictedGraph(callOf(tensors, {}, context), { ...settings, by: 'buckets' });
    const run = (of: ParameterTree, most?: number): Tensor => {
      const { query, key, value } = callOf(of, {});
      return entmaxOverGraph(query, key, value, graph, most);
    };
    await expectSame(tensors, run, 3 * batch * heads * 4 * width);
  });

  test('a sampled graph, and the gradients of its expected edges', async () => {
    const squares = (x: Tensor): Tensor => mul(x, x);
    const rates = {
      query: squares(randomTensor(backend, 18, batch, heads, queries, 5)),
      key: squares(randomTensor(backend, 19, batch, heads, keys, 5)),
    };
    const graph = sampleGraph(rates, 3, 6);
    for (const most of [1, 3 * batch * heads * 5]) {
      await expectClose(sampleGraph(rates, 3, 6, most), graph, 12);
    }
    const indices = Array.from(await graph.data());
    expect(new Set(indices).size).toBeGreaterThan(5);
    expect(indices).toContain(-1);
    // The edges' weights are clipped; unused slots have none.
    const weights = mul(randomTensor(backend, 20, batch, heads, queries, 3), 2);
    const passed = valueAndGrad((of: typeof rates, most?: number) =>
      sum(mul(passedEdges({ ...of, graph }, most), weights)),
    );
    // Of all pairs: a key that is listed twice has two weights.
    const ofPairs = new Float64Array(batch * heads * queries * keys);
    for (const [at, weight] of Array.from(await weights.data(), Number).entries()) {
      const place = Math.floor(at / 3) * keys + (indices[at] as number);
      if (indices[at] !== -1) ofPairs[place] = (ofPairs[place] as number) + Math.max(-1, Math.min(1, weight));
    }
    const { gradients: wanted } = valueAndGrad((of: typeof rates) => {
      const edges = matmul(of.query, of.key, { transposeB: true });
      return sum(mul(edges, tensor(backend, ofPairs, edges.shape)));
    })(rates);
    // All at once; one query; three queries of one head; two heads.
    for (const most of [undefined, 1, 3 * 3 * 5, 2 * queries * 3 * 5]) {
      const { gradients, value } = passed(rates, most);
      expect((await value.data())[0]).toBe(0);
      for (const role of ['query', 'key'] as const) await expectClose(gradients[role], wanted[role], 10);
    }
  });
});
