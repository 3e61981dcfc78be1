import { exp, matmul, sum, type Tensor, tensor } from '@topk-attention/core';
import { attentionLayer, contextOf, initialize, trainableExcept } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { rfa } from '../src/index.js';
import { backend, expectGolden, goldenCall, goldenParameter } from './support/goldens.js';
import { describeLaws, differenceOf } from './support/laws.js';
import { randomTensor } from './support/random.js';

const parameters = {
  directions: goldenParameter('directions'),
  bandwidth: goldenParameter('bandwidth'),
  'gate.weight': goldenParameter('gateWeight'),
  'gate.bias': goldenParameter('gateBias'),
};
// The goldens have no smallest denominator.
const floor = 1e-9;

test('is attention by products of sines and cosines', () =>
  expectGolden('rfa', rfa({ features: 12, floor }), parameters));

test('causally too', () =>
  expectGolden('rfa, causal', rfa({ features: 12, floor, chunk: 3 }), parameters, { causal: true }));

test('by the arc-cosine kernel', () =>
  expectGolden('arc-cosine', rfa({ features: 6, floor, kernel: 'arc-cosine' }), parameters));

test.each([1, 2, 3, 128])('with a gate, %i tokens at a time, as the product of gates says', (chunk) =>
  expectGolden('rfa with a gate', rfa({ features: 12, floor, chunk, gate: true }), parameters, {
    causal: true,
  }),
);

test('estimates softmax of unit vectors', async () => {
  const features = 20_000;
  const call = goldenCall({
    directions: tensor(
      backend,
      rfa({ features })
        .declare?.({ width: 8, heads: 2, keyValueHeads: 2, headDim: 4 })
        .directions?.initializer([2, features / 2, 4], 5) as Float64Array,
      [2, features / 2, 4],
    ),
    bandwidth: tensor(backend, new Float64Array(8).fill(1), [2, 4]),
  });
  const made = rfa({ features }).attend(call);
  const unit = async (one: Tensor): Promise<Tensor> => {
    const values = Float64Array.from(await one.data());
    for (let at = 0; at < values.length; at += 4) {
      const length = Math.hypot(...values.subarray(at, at + 4));
      for (let i = at; i < at + 4; i++) values[i] = (values[i] as number) / length;
    }
    return tensor(backend, values, one.shape);
  };
  const weights = exp(matmul(await unit(call.query), await unit(call.key), { transposeB: true }));
  const sums = matmul(weights, call.value);
  const totals = sum(weights, { axes: [3], keepDims: true });
  const [over, under] = await Promise.all([sums.data(), totals.data()]);
  const exact = tensor(
    backend,
    Float64Array.from(over, (value, at) => value / (under[Math.floor(at / 4)] as number)),
    sums.shape,
  );
  expect(await differenceOf(made, exact)).toBeLessThan(0.05);
});

describe('parameters', () => {
  const layer = attentionLayer({ width: 8, heads: 2, causal: true, mechanism: rfa({ gate: true }) });

  test('directions are drawn, the rest is trained', () => {
    const isTrainable = trainableExcept(layer);
    expect(layer.parameters['mechanism.directions']).toMatchObject({ shape: [2, 64, 4], redrawEvery: 1 });
    expect(isTrainable('mechanism.directions')).toBe(false);
    for (const name of ['bandwidth', 'gate.weight', 'gate.bias']) {
      expect(isTrainable(`mechanism.${name}`)).toBe(true);
    }
  });
});

describe('wrong use', () => {
  test.each([{ features: 7 }, { features: 0 }, { chunk: 0.5 }, { floor: 0 }])('%o', (options) => {
    expect(() => rfa(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });

  test('a gate without causality, or with a source', () => {
    const mechanism = rfa({ features: 4, gate: true });
    const x = randomTensor(backend, 1, 1, 5, 8);
    const unsupported = expect.objectContaining({ code: 'UNSUPPORTED' });
    const free = attentionLayer({ width: 8, heads: 2, mechanism });
    expect(() => free.apply(contextOf(initialize(backend, free, 1)), x)).toThrow(unsupported);
    const causal = attentionLayer({ width: 8, heads: 2, causal: true, mechanism });
    const context = contextOf(initialize(backend, causal, 1));
    expect(() => causal.apply(context, x, { source: randomTensor(backend, 2, 1, 5, 8) })).toThrow(
      /only self-attention has/,
    );
  });
});

test('queries may attend to a source of another length', async () => {
  const layer = attentionLayer({ width: 8, heads: 2, mechanism: rfa({ features: 8 }) });
  const context = contextOf(initialize(backend, layer, 1));
  const x = randomTensor(backend, 1, 1, 5, 8);
  const output = layer.apply(context, x, { source: randomTensor(backend, 2, 1, 11, 8) });
  expect(output.shape).toEqual([1, 5, 8]);
});

describeLaws('RFA', rfa({ features: 16, chunk: 4 }), { trained: ['bandwidth'] });
describeLaws('RFA, arc-cosine', rfa({ features: 16, chunk: 4, kernel: 'arc-cosine' }), {
  trained: ['bandwidth'],
});
describeLaws('RFA-Gate', rfa({ features: 16, chunk: 4, gate: true }), {
  trained: ['bandwidth', 'gate.weight', 'gate.bias'],
  onlyCausal: true,
});
