import { type Backend, mul, narrow, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import {
  attentionLayer,
  contextOf,
  initialize,
  type MechanismCall,
  type ParameterTree,
} from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { relativeKernel } from '../src/index.js';
import { backend, expectGolden, goldenCall, goldenParameter } from './support/goldens.js';
import { describeLaws, expectClose } from './support/laws.js';
import { randomTensor } from './support/random.js';

const parameters = { directions: goldenParameter('directions'), offsets: goldenParameter('offsets') };

describe.each(['fft', 'direct'] as const)('by %s', (form) => {
  const mechanism = relativeKernel({ length: 7, features: 6, form });
  test('is attention by features and factors of distances', () =>
    expectGolden('relative', mechanism, parameters));
  test('causally too', () => expectGolden('relative, causal', mechanism, parameters, { causal: true }));

  describeLaws(`relative kernel by ${form}`, relativeKernel({ length: 5, features: 8, form }), {
    trained: ['offsets'],
    // Rounding of the transform.
    digits: 6,
  });
});

test.each([1, 3, 4])('%i columns at a time give the same', async (slab) => {
  await expectGolden('relative', relativeKernel({ length: 7, features: 6, slab }), parameters);
});

test('distances beyond the length share its last bias', async () => {
  const offsets = parameters.offsets;
  const short = narrow(offsets, 1, 4, 5);
  // The same as biases of 7 tokens.
  const values = await short.data();
  const spread = Float64Array.from({ length: 26 }, (_, at) => {
    const [head, place] = [Math.floor(at / 13), at % 13];
    return values[head * 5 + Math.max(0, Math.min(4, place - 4))] as number;
  });
  const long = tensor(backend, spread, [2, 13]);
  await expectClose(
    relativeKernel({ length: 3 }).attend(goldenCall({ ...parameters, offsets: short })),
    relativeKernel({ length: 7 }).attend(goldenCall({ ...parameters, offsets: long })),
  );
});

test('a common factor of all distances cancels, however large', async () => {
  const shifted = async (by: number): Promise<Tensor> => {
    const moved = Float64Array.from(await parameters.offsets.data(), (value) => value + by);
    return tensor(backend, moved, [2, 13]);
  };
  const mechanism = relativeKernel({ length: 7 });
  const plain = mechanism.attend(goldenCall(parameters));
  for (const by of [500, -500]) {
    await expectClose(mechanism.attend(goldenCall({ ...parameters, offsets: await shifted(by) })), plain, 9);
  }
});

describe.each([true, false])('in f32, causal %s', (causal) => {
  /** A row of 130 tokens, more than are summed directly, and its gradient, by biases of distances. */
  const made = async (form: 'fft' | 'direct', own: Backend, biasOf: (distance: number) => number) => {
    const layer = attentionLayer({
      ...{ width: 8, heads: 2, causal },
      mechanism: relativeKernel({ length: 130, features: 8, form }),
    });
    const drawn = initialize(own, layer, 1);
    const offsets = Float64Array.from({ length: 2 * 259 }, (_, at) => biasOf(Math.abs((at % 259) - 129)));
    const parameters = { ...drawn, 'mechanism.offsets': tensor(own, offsets, [2, 259]) };
    const x = randomTensor(own, 3, 1, 130, 8);
    const of = (given: ParameterTree): Tensor => layer.apply(contextOf(given), x);
    const { gradients } = valueAndGrad((given: ParameterTree) => sum(mul(of(given), x)))(parameters);
    const values = [of(parameters), gradients['mechanism.offsets'] as Tensor];
    return Promise.all(values.map(async (one) => Array.from(await one.data())));
  };
  // Near tokens count least: the first rows of a causal layer have the smallest sums.
  test.each<[string, (distance: number) => number]>([
    ['of a token for itself 2 less', (distance) => (distance === 0 ? -2 : 0)],
    ['of a token for itself 10 less', (distance) => (distance === 0 ? -10 : 0)],
    ['that grow by 10 over 64 tokens', (distance) => -10 * Math.max(0, 1 - distance / 64)],
  ])('biases %s are as exact as sums of all pairs', async (_name, biasOf) => {
    const fft = await made('fft', createReferenceBackend(), biasOf);
    const direct = await made('direct', createReferenceBackend({ floatStorage: 'f64' }), biasOf);
    for (const [at, wanted] of direct.entries()) {
      const largest = wanted.reduce((most, one) => Math.max(most, Math.abs(one)), 0);
      const off = (fft[at] ?? []).map((one, place) => Math.abs(one - (wanted[place] as number)) / largest);
      expect(Math.max(...off)).toBeLessThan(1e-5);
    }
  });
});

test('each form gives its own reason against a mask, a bias and dropout, and takes the same options', () => {
  const [sums, pairs] = [relativeKernel({ length: 4 }), relativeKernel({ length: 4, form: 'direct' })];
  expect(sums.takes).toEqual(pairs.takes);
  expect(sums.refusals?.dropout).toMatch(/^It never computes the weights of single pairs/);
  for (const ability of ['mask', 'bias', 'dropout'] as const) {
    expect(pairs.refusals?.[ability]).toMatch(/^Both forms take the same options, and the fft one/);
  }
});

test('lengths of queries and keys do not matter, only directions', async () => {
  const call = goldenCall(parameters);
  const mechanism = relativeKernel({ length: 7 });
  const longer = mechanism.attend({ ...call, query: mul(call.query, 30), key: mul(call.key, 0.1) });
  await expectClose(longer, mechanism.attend(call), 9);
});

describe('wrong use', () => {
  test.each([{ length: 0 }, { length: 4, features: 0 }, { length: 4, slab: 0 }])('%o', (options) => {
    expect(() => relativeKernel(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });
  test('a slab of the direct form, which transforms nothing', () => {
    const build = (): unknown => relativeKernel({ length: 4, form: 'direct', slab: 2 });
    expect(build).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(build).toThrow("slab with form: 'fft' alone");
  });
  test('a scale whose features overflow', () => {
    const call = goldenCall(parameters, { scale: 1e3 });
    expect(() => relativeKernel({ length: 7 }).attend(call)).toThrow(/would overflow/);
  });

  describe.each([
    ['f32', createReferenceBackend()],
    ['f64', backend],
  ] as const)('in %s, of the width of a head', (_, own) => {
    const callOf = (headDim: number, scale: number): MechanismCall => {
      const longest = Math.sqrt(headDim) + 4;
      // Queries and keys along a direction as long as they get: the features are as large as they get.
      const ones = tensor(own, new Float64Array(4 * headDim).fill(1), [1, 1, 4, headDim]);
      const directions = tensor(own, new Float64Array(headDim).fill(longest * headDim ** -0.5), [
        1,
        1,
        headDim,
      ]);
      const offsets = tensor(own, new Float64Array(7), [1, 7]);
      return {
        ...{ context: contextOf({ directions, offsets }), path: 'self', options: { scale } },
        ...{ query: ones, key: ones, value: ones },
      };
    };
    test.each([
      [8, 32],
      [64, 18.65],
      [128, 9.52],
      [256, 5.07],
    ])('headDim %i takes a scale of up to %d', async (headDim, largest) => {
      for (const form of ['fft', 'direct'] as const) {
        const mechanism = relativeKernel({ length: 4, features: 1, form });
        for (const number of await mechanism.attend(callOf(headDim, largest)).data()) {
          expect(number).toBeCloseTo(1, 4);
        }
        expect(() => mechanism.attend(callOf(headDim, largest + 0.01))).toThrow(
          expect.objectContaining({
            code: 'INVALID_OPTION',
            expected: `a scale of at most ${largest} for a headDim of ${headDim}`,
          }),
        );
      }
    });
  });

  test('a source', () => {
    const layer = attentionLayer({ width: 8, heads: 2, mechanism: relativeKernel({ length: 4 }) });
    const context = contextOf(initialize(backend, layer, 1));
    const [x, source] = [1, 2].map((seed) => randomTensor(backend, seed, 1, 5, 8)) as [Tensor, Tensor];
    expect(() => layer.apply(context, x, { source })).toThrow(/tokens of one text/);
  });
});
