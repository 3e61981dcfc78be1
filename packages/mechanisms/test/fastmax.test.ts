import { narrow } from '@topk-attention/core';
import { attentionLayer, contextOf, initialize, seedsFrom } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { fastmax } from '../src/index.js';
import { backend, expectGolden, goldenCall } from './support/goldens.js';
import { describeLaws, differenceOf, expectClose } from './support/laws.js';
import { randomTensor } from './support/random.js';

describe.each([1, 2] as const)('order %i', (order) => {
  describe.each(['factorised', 'direct'] as const)('%s', (form) => {
    test('is the polynomial of the scores over its sum', () =>
      expectGolden(`fastmax of order ${order}`, fastmax({ order, form })));

    test('causally too', () =>
      expectGolden(
        `fastmax of order ${order}, causal`,
        fastmax({ order, form, ...(form === 'factorised' && { chunk: 3 }) }),
        {},
        { causal: true },
      ));

    const chunked = fastmax({ order, form, ...(form === 'factorised' && { chunk: 4 }) });
    describeLaws(`order ${order}, ${form}`, chunked, { digits: 5 });
  });
});

test.each(['standardise', 'none'] as const)('both forms agree with a temperature: %s', async (normalise) => {
  const [a, b] = (['factorised', 'direct'] as const).map((form) =>
    fastmax({ form, normalise, temperature: 0.7 }).attend(goldenCall()),
  );
  await expectClose(a as NonNullable<typeof a>, b as NonNullable<typeof b>, 12);
});

test('dropout of moments changes the numerator alone, and is gone outside of training', async () => {
  const x = randomTensor(backend, 1, 1, 6, 8);
  const layer = attentionLayer({ width: 8, heads: 2, dropout: 0.5, mechanism: fastmax() });
  const parameters = initialize(backend, layer, 2);
  const plain = layer.apply(contextOf(parameters), x);
  const [one, again, other] = [1, 1, 2].map((seed) =>
    layer.apply(contextOf(parameters, { training: true, seeds: seedsFrom(seed) }), x),
  ) as [typeof plain, typeof plain, typeof plain];
  expect(await differenceOf(one, plain)).toBeGreaterThan(1e-3);
  expect(await differenceOf(one, again)).toBe(0);
  expect(await differenceOf(one, other)).toBeGreaterThan(1e-3);
  // The mean over seeds is the output without dropout.
  let mean = 0;
  const draws = 400;
  const target = (await plain.data())[0] as number;
  const values: number[] = [];
  for (let seed = 0; seed < draws; seed++) {
    const made = layer.apply(contextOf(parameters, { training: true, seeds: seedsFrom(seed) }), x);
    values.push((await made.data())[0] as number);
  }
  mean = values.reduce((all, value) => all + value, 0) / draws;
  const deviation = Math.sqrt(values.reduce((all, value) => all + (value - mean) ** 2, 0) / draws / draws);
  expect(Math.abs(mean - target)).toBeLessThan(4 * deviation);
});

test.each([1, 2] as const)('a step drops the moments that the whole text drops: order %i', async (order) => {
  const x = randomTensor(backend, 1, 1, 6, 8);
  const mechanism = fastmax({ order });
  const layer = attentionLayer({ width: 8, heads: 2, causal: true, dropout: 0.5, mechanism });
  const parameters = initialize(backend, layer, 2);
  const training = contextOf(parameters, { training: true, seeds: seedsFrom(3) });
  const { state } = layer.step(contextOf(parameters), narrow(x, 1, 0, 4));
  const { output } = layer.step(training, narrow(x, 1, 4, 2), state);
  await expectClose(output, narrow(layer.apply(training, x), 1, 4, 2));
});

describe('weights that may be negative are refused', () => {
  const refused = expect.objectContaining({ code: 'INVALID_OPTION' });
  test('order 1 without normalisation', () => {
    expect(() => fastmax({ order: 1, normalise: 'none' })).toThrow(refused);
  });
  test('order 1 with a small temperature', () => {
    expect(() => fastmax({ order: 1, temperature: 2 }).attend(goldenCall())).toThrow(refused);
  });
  test('a temperature of 0', () => {
    expect(() => fastmax({ temperature: 0 })).toThrow(refused);
  });
});

test('each form gives its own reason against a mask and a bias, and takes the same options', () => {
  const [sums, pairs] = [fastmax(), fastmax({ form: 'direct' })];
  for (const ability of ['mask', 'bias', 'relativeBias'] as const) {
    expect(sums.refusals?.[ability]).toMatch(/^It never computes the weights of single pairs/);
    expect(pairs.refusals?.[ability]).toMatch(/^Both forms take the same options, and the factorised one/);
    for (const { takes } of [sums, pairs]) expect(takes).not.toContain(ability);
  }
});

test('a chunk of the direct form, which has none', () => {
  const build = (): unknown => fastmax({ form: 'direct', chunk: 4 });
  expect(build).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  expect(build).toThrow("chunk with form: 'factorised' alone");
});
