import {
  type Backend,
  dryBackend,
  mul,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from '@topk-attention/core';
import type { FusedOperation, GraphProductRequest } from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { ParameterTree } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { graphProduct, graphProductTransposed } from '../src/graph-product.js';
import { passedEdges } from '../src/passed-edges.js';
import { backend } from './support/goldens.js';
import { expectSlope } from './support/laws.js';
import { randomNumbers, randomTensor } from './support/random.js';

const [groups, queries, keys, slots, width] = [3, 5, 4, 6, 2];

/** Keys, some of them twice in a row of slots, unused slots, and numbers outside of the keys. */
const listed = ((): number[] => {
  const next = randomNumbers(3);
  return Array.from({ length: groups * queries * slots }, (_, at) =>
    at % 7 === 0
      ? ([-1, keys, -9, 2 ** 31 - 1][(at / 7) % 4] as number)
      : Math.floor(((next() + 1) / 2) * keys),
  );
})();
const isUsed = (at: number): boolean => (listed[at] as number) >= 0 && (listed[at] as number) < keys;

async function sumsOf(weights: Tensor, rows: Tensor, isTransposed: boolean): Promise<number[]> {
  const [w, x] = await Promise.all([weights, rows].map(async (one) => Array.from(await one.data(), Number)));
  const made = isTransposed ? keys : queries;
  const sums = new Array<number>(groups * made * width).fill(0);
  for (const [at, key] of listed.entries()) {
    if (!isUsed(at)) continue;
    const query = Math.floor(at / slots);
    const ofKey = Math.floor(query / queries) * keys + key;
    const [from, to] = isTransposed ? [query, ofKey] : [ofKey, query];
    for (let column = 0; column < width; column++) {
      const term = (w?.[at] as number) * (x?.[from * width + column] as number);
      sums[to * width + column] = (sums[to * width + column] as number) + term;
    }
  }
  return sums;
}

describe('sums over a graph', () => {
  const graph = tensor(backend, Int32Array.from(listed), [groups, queries, slots], 'i32');
  const next = randomNumbers(4);
  // What unused slots hold does not matter.
  const weights = tensor(
    backend,
    Float64Array.from(listed, (_, at) => (isUsed(at) ? next() : Number.NaN)),
    graph.shape,
  );
  const ofKeys = randomTensor(backend, 5, groups, keys, width);
  const ofQueries = randomTensor(backend, 6, groups, queries, width);

  // All at once, some groups, one group, some queries, one query.
  for (const most of [undefined, 2, 1, 0.4, 0].map((part) => part && part * queries * slots * width)) {
    test(`of at most ${most} numbers at a time`, async () => {
      const made = graphProduct({ weights, graph, rows: ofKeys }, most);
      const passed = graphProductTransposed({ weights, graph, rows: ofQueries }, keys, most);
      for (const [result, wanted] of [
        [made, await sumsOf(weights, ofKeys, false)],
        [passed, await sumsOf(weights, ofQueries, true)],
      ] as const) {
        const numbers = Array.from(await result.data(), Number);
        expect(numbers.length).toBe(wanted.length);
        for (const [at, one] of wanted.entries()) expect(numbers[at]).toBeCloseTo(one, 10);
      }
    });
  }

  test('have gradients by weights and rows', async () => {
    const given = randomTensor(backend, 7, groups, queries, width);
    const own = randomTensor(backend, 8, groups, queries, slots);
    const loss = (of: ParameterTree): Tensor =>
      sum(mul(graphProduct({ ...(of as { weights: Tensor; rows: Tensor }), graph }), given));
    const parameters = { weights: own, rows: ofKeys };
    const { gradients } = valueAndGrad(loss)(parameters);
    for (const name of ['weights', 'rows']) await expectSlope(loss, parameters, gradients, name);
  });

  test.each(['groups', 'queries', 'keys', 'slots', 'width'])('are zeros without %s', async (role) => {
    const sizes = { groups, queries, keys, slots, width, [role]: 0 };
    const of = (...shape: readonly number[]): Tensor => zeros(backend, shape);
    const edges = {
      weights: of(sizes.groups, sizes.queries, sizes.slots),
      graph: zeros(backend, [sizes.groups, sizes.queries, sizes.slots], 'i32'),
    };
    const made = graphProduct({ ...edges, rows: of(sizes.groups, sizes.keys, sizes.width) });
    const passed = graphProductTransposed(
      { ...edges, rows: of(sizes.groups, sizes.queries, sizes.width) },
      sizes.keys,
    );
    expect(made.shape).toEqual([sizes.groups, sizes.queries, sizes.width]);
    expect(passed.shape).toEqual([sizes.groups, sizes.keys, sizes.width]);
    for (const one of [made, passed]) {
      expect(Array.from(await one.data(), Number).every((number) => number === 0)).toBe(true);
    }
  });
});

test('a backend is asked for the sums of all examples and heads at once', () => {
  const asked: (readonly [string, GraphProductRequest])[] = [];
  const asking = (name: string): FusedOperation<GraphProductRequest, object, { readonly output: never }> => ({
    prepare: (request) => {
      asked.push([name, request]);
      return { refusals: ['only asked'] };
    },
  });
  const names = ['graphProduct', 'graphProductTransposed'];
  const own: Backend = {
    ...createReferenceBackend(),
    fused: Object.fromEntries(names.map((name) => [name, asking(name)])),
  };
  const dry = dryBackend(own);
  const of = (...shape: readonly number[]): Tensor => zeros(dry, [2, 3, ...shape]);
  const graph = zeros(dry, [2, 3, 8, 4], 'i32');
  valueAndGrad((rates: ParameterTree) =>
    sum(passedEdges({ ...(rates as { query: Tensor; key: Tensor }), graph }, 1)),
  )({ query: of(8, 5), key: of(9, 5) });
  const sizes = { groups: 6, queries: 8, keys: 9, slots: 4, width: 5 };
  expect(asked).toEqual(names.map((name) => [name, expect.objectContaining(sizes)]));
});
