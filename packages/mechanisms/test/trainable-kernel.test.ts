import { tensor } from '@topk-attention/core';
import { attentionLayer, contextOf, initialize, withLosses } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { trainableKernel } from '../src/index.js';
import { backend, expectGolden, goldenParameter } from './support/goldens.js';
import { describeLaws } from './support/laws.js';
import { randomTensor } from './support/random.js';

test('is attention by products of learned features', () =>
  expectGolden('trainable kernel', trainableKernel({ layers: 2 }), {
    '0.weight': goldenParameter('kernel0'),
    '0.gate': goldenParameter('kernelGate0'),
    '1.weight': goldenParameter('kernel1'),
    '1.gate': goldenParameter('kernelGate1'),
  }));

describe('the penalty', () => {
  const layer = attentionLayer({
    width: 8,
    heads: 2,
    mechanism: trainableKernel({ orthogonal: true, penalty: 0.5 }),
  });
  const parameters = initialize(backend, layer, 3);
  const x = randomTensor(backend, 1, 1, 5, 8);
  const penaltyOf = async (weights: typeof parameters): Promise<number> => {
    const { loss } = withLosses(contextOf(weights), (inner) => layer.apply(inner, x));
    return Number((await (loss as NonNullable<typeof loss>).data())[0]);
  };

  test('is 0 for the orthogonal matrices of the beginning', async () => {
    expect(await penaltyOf(parameters)).toBeCloseTo(0, 12);
  });

  test('is mean((A A^T - I)^2): for A = 2 I, 9 on the diagonal', async () => {
    const twice = tensor(
      backend,
      Float64Array.from({ length: 32 }, (_, at) => ((at % 16) % 5 === 0 ? 2 : 0)),
      [2, 4, 4],
    );
    expect(await penaltyOf({ ...parameters, 'mechanism.0.weight': twice })).toBeCloseTo((0.5 * 9) / 4, 12);
  });
});

describe('wrong use', () => {
  test.each([{ layers: 0 }, { penalty: -1 }, { chunk: 0 }])('%o', (options) => {
    expect(() => trainableKernel(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });
  test('a gate of rank 0', () => {
    const build = (): unknown =>
      attentionLayer({ width: 6, heads: 2, mechanism: trainableKernel({ gate: 'low-rank' }) });
    expect(build).toThrow(/headDim \/ 4/);
  });
});

describeLaws('trainable kernel', trainableKernel({ layers: 2, chunk: 4, penalty: 0.1 }), {
  trained: ['0.weight', '0.gate', '1.weight', '1.gate'],
});
describeLaws('trainable kernel without a gate', trainableKernel({ gate: 'none', orthogonal: true }), {
  trained: ['0.weight'],
});
test('a gate of low rank has few parameters', () => {
  const layer = attentionLayer({ width: 16, heads: 2, mechanism: trainableKernel({ gate: 'low-rank' }) });
  expect(layer.parameters['mechanism.0.gate_in']?.shape).toEqual([2, 2, 8]);
  expect(layer.parameters['mechanism.0.gate_out']?.shape).toEqual([2, 8, 2]);
  const output = layer.apply(contextOf(initialize(backend, layer, 1)), randomTensor(backend, 1, 1, 5, 16));
  expect(output.shape).toEqual([1, 5, 16]);
});
