import { narrow, reshape, type Tensor, tensor, zeros } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { attentionLayer, contextOf, initialize } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { sigmoidAttention } from '../src/index.js';
import { backend, expectGolden, goldenCall } from './support/goldens.js';
import { describeLaws, expectClose } from './support/laws.js';

test('is sigmoid(q k / sqrt(d) - log n) v', () => expectGolden('sigmoid', sigmoidAttention()));

test('keeps the bias of the texts it was trained on', () =>
  expectGolden('sigmoid of length 512, causal', sigmoidAttention({ length: 512 }), {}, { causal: true }));

test('each weight is the sigmoid of the bias alone where scores are 0', async () => {
  const call = goldenCall();
  // sigmoid(0) = 1/2 and sigmoid(1000) = 1.
  const one = sigmoidAttention({ bias: 0 }).attend({ ...call, options: { scale: 0 } });
  const whole = sigmoidAttention({ bias: 1e3 }).attend({ ...call, options: { scale: 0 } });
  const [halves, wholes] = await Promise.all([one.data(), whole.data()]);
  for (const [at, value] of halves.entries()) expect(2 * value).toBeCloseTo(wholes[at] as number, 12);
});

test('a mask hides keys', async () => {
  const mechanism = sigmoidAttention({ length: 7 });
  const seen = [true, true, true, true, false, false, false];
  const mask = reshape(tensor(backend, seen), [1, 1, 1, 7]);
  const keyLengths = tensor(backend, Int32Array.of(4), [1]);
  await expectClose(
    mechanism.attend(goldenCall({}, { mask })),
    mechanism.attend(goldenCall({}, { keyLengths })),
  );
});

test('texts of several lengths have each their own bias, beside another', async () => {
  const mechanism = sigmoidAttention();
  const bias = tensor(
    backend,
    Float32Array.from({ length: 7 }, (_, i) => Math.sin(i)),
    [1, 1, 1, 7],
  );
  const { query, key, value, ...rest } = goldenCall();
  const keyLengths = tensor(backend, Int32Array.of(4), [1]);
  const first = (x: Tensor): Tensor => narrow(x, 2, 0, 4);
  const short = mechanism.attend({
    ...{ ...rest, query, key: first(key), value: first(value) },
    options: { bias: narrow(bias, 3, 0, 4) },
  });
  await expectClose(mechanism.attend({ ...rest, query, key, value, options: { keyLengths, bias } }), short);
});

test('the budget of a run bounds it: never are all scores in memory', async () => {
  const own = createReferenceBackend({ fused: false });
  const layer = attentionLayer({ width: 8, heads: 2, mechanism: sigmoidAttention() });
  const parameters = initialize(own, layer, 1);
  const x = zeros(own, [1, 512, 8]);
  const before = own.memory().live;
  own.resetPeak();
  const output = layer.apply(contextOf(parameters, { training: false, budgetBytes: 300_000 }), x);
  expect(output.shape).toEqual([1, 512, 8]);
  // All scores of one head are 2^20 bytes.
  expect((own.memory().peak ?? 0) - before).toBeLessThan(500_000);
});

describe('wrong use', () => {
  test.each([{ length: 0 }, { length: 4, bias: 1 }, { bias: Number.NaN }])('%o', (options) => {
    expect(() => sigmoidAttention(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });

  test('a causal layer needs a fixed bias', () => {
    const build = (): unknown =>
      attentionLayer({ width: 8, heads: 2, causal: true, mechanism: sigmoidAttention() });
    expect(build).toThrow(
      /sigmoid attention cannot be causal.*pass length, that of the texts in training, or bias/,
    );
  });
});

describeLaws('sigmoid', sigmoidAttention());
describeLaws('sigmoid of a fixed length, with norms', sigmoidAttention({ length: 9, qkNorm: true }), {
  trained: ['query_norm.weight', 'key_norm.bias'],
  // The norms of small rows are steep.
  digits: 5,
});
