import { add, dryBackend, pullback, sum, type Tensor, valueAndGrad, zeros } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import {
  contextOf,
  encoderStack,
  initialize,
  type Mechanism,
  type ParameterTree,
  seedsFrom,
  withLosses,
} from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { drawnEntries } from '../src/drawn-entries.js';
import { attendAll } from '../src/entmax.js';
import { entmaxAttention, fastmax, sbm, sparsefinder } from '../src/index.js';
import { callOf, withLimits } from './support/calls.js';

/** MiB of a pass forward and backward through two layers of one text. */
const peakOf = (mechanism: Mechanism, tokens: number, budgetBytes?: number): number => {
  const dry = dryBackend(createReferenceBackend());
  const sizes = { layers: 2, width: 64, heads: 2, hidden: 64 };
  const stack = encoderStack({ ...sizes, attention: { mechanism } });
  const parameters = initialize(dry, stack, 1);
  const x = zeros(dry, [1, tokens, 64]);
  valueAndGrad((of: ParameterTree) => {
    const run = contextOf(of, {
      training: true,
      seeds: seedsFrom(1),
      ...(budgetBytes !== undefined && { budgetBytes }),
    });
    const { output, loss } = withLosses(run, (context) => sum(stack.apply(context, x)));
    return loss === undefined ? output : add(output, loss);
  })(parameters);
  return (dry.memory().peak as number) / 2 ** 20;
};

test.each([
  ['entmax', entmaxAttention()],
  ['Sparsefinder', sparsefinder({ edges: 128 })],
  ['SBM', sbm({ edges: 128 })],
  ['fastmax', fastmax({ form: 'direct' })],
] as const)('%s is linear in the length', (_, mechanism) => {
  const [short, middle, long] = [4096, 8192, 16_384].map((tokens) => peakOf(mechanism, tokens)) as [
    number,
    number,
    number,
  ];
  // From the length on at which chunks are full; the shortest text of SBM takes less than its chunks. Scores of all
  // pairs are 2 GiB each at 16,384 tokens.
  expect(middle - short).toBeLessThan(150);
  expect(long - middle).toBeLessThan(2.3 * Math.max(middle - short, 20));
  expect(long).toBeLessThan(700);
});

test.each([
  ['entmax', entmaxAttention()],
  ['Sparsefinder', sparsefinder({ edges: 128 })],
  ['fastmax', fastmax({ form: 'direct' })],
] as const)('a budget bounds the tensors of all pairs: %s', (_, mechanism) => {
  // Pairs of 4,096 tokens and 2 heads take 128 MiB a tensor.
  const [less, more] = [2 ** 24, 2 ** 27].map((budget) => peakOf(mechanism, 4096, budget)) as [
    number,
    number,
  ];
  expect(more - less).toBeLessThan(128);
  expect(more - less).toBeGreaterThan(50);
});

test('a budget bounds the memberships that SBM gathers', () => {
  const mechanism = sbm({ edges: 128 });
  // Two tensors of 2^24 numbers, and of 2^19.
  expect(peakOf(mechanism, 4096) - peakOf(mechanism, 4096, 2 ** 24)).toBeGreaterThan(40);
});

test('a large chunk is not kept for the backward pass', () => {
  const dry = dryBackend(withLimits({ chunkTensorBytes: 2 ** 28 }));
  const of = (...shape: readonly number[]): Tensor => zeros(dry, [1, 1, ...shape]);
  const kept = (queries: number): number => {
    const inputs = { query: of(queries, 4), key: of(8192, 4), value: of(8192, 4) };
    const before = dry.memory().live;
    pullback((given: ParameterTree) => attendAll(callOf(given, {})), inputs);
    return dry.memory().live - before;
  };
  // 64 MiB a tensor, and twice that.
  expect(kept(2048)).toBeGreaterThan(2 ** 26);
  expect(kept(4096)).toBeLessThan(2 ** 21);
});

test('of a chunk: entmax holds four tensors of its scores', () => {
  const dry = dryBackend(createReferenceBackend());
  const of = (...shape: readonly number[]): Tensor => zeros(dry, [1, 1, ...shape]);
  const call = callOf({ query: of(256, 4), key: of(1024, 4), value: of(1024, 4) }, {});
  attendAll(call);
  expect(dry.memory().peak).toBeLessThan(4.1 * 4 * 256 * 1024);
});

test('of a chunk: draws hold three tensors beside its weights', () => {
  const dry = dryBackend(createReferenceBackend());
  const weights = zeros(dry, [1, 2, 256, 1024]);
  const visible = zeros(dry, [1, 1, 1, 1024], 'bool');
  const entries = 2 * 256 * 1024;
  drawnEntries(weights, visible, { seed: 1, firstQuery: 0 });
  // And which kind an entry is, a byte each.
  expect(dry.memory().peak).toBeLessThan(4.1 * 4 * entries + entries);
});
