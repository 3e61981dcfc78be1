import { type AttentionOptions, exactAttention, narrow, zeros } from '@topk-attention/core';
import { exact, performer, topK } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import * as mechanisms from '../src/index.js';
import { attentionFunctionOf } from '../src/index.js';
import { backend, expectNumbers, goldenCall, goldenOutput } from './support/goldens.js';
import { expectClose } from './support/laws.js';

const { query, key, value } = goldenCall();

test('exact, top-k and performer serve weights trained with softmax', async () => {
  const exactly = attentionFunctionOf(exact(), { trainedWith: 'softmax' });
  await expectClose(
    exactly(query, key, value, { causal: true }),
    exactAttention(query, key, value, { causal: true }),
  );
  for (const one of [topK({ k: 2 }), performer()]) {
    expect(() => attentionFunctionOf(one, { trainedWith: 'softmax' })).not.toThrow();
  }
});

test('a model trained with a mechanism uses it', async () => {
  const attention = attentionFunctionOf(mechanisms.simpleTron(), { trainedWith: 'mechanism' });
  await expectNumbers(attention(query, key, value, {}), goldenOutput('simpletron'));
});

test('the place of the first query counts where positions do', async () => {
  const attention = attentionFunctionOf(mechanisms.sigmoidAttention({ length: 7 }), {
    trainedWith: 'mechanism',
  });
  const last = narrow(query, 2, 3, 2);
  const whole = attention(query, key, value, { causal: true });
  await expectClose(attention(last, key, value, { causal: true, queryStart: 3 }), narrow(whole, 2, 3, 2));
  const sums = attentionFunctionOf(mechanisms.simpleTron(), { trainedWith: 'mechanism' });
  expect(() => sums(last, key, value, { causal: true, queryStart: 3 })).toThrow(/takes no queryStart/);
});

test('the budget of a call is that of a layer', async () => {
  for (const mechanism of [mechanisms.sigmoidAttention(), exact()]) {
    const attention = attentionFunctionOf(mechanism, { trainedWith: 'mechanism' });
    expect(() => attention(query, key, value, { budgetBytes: 1 })).toThrow(
      expect.objectContaining({ code: 'DOES_NOT_FIT' }),
    );
    await expectClose(
      attention(query, key, value, { budgetBytes: 2 ** 20 }),
      attention(query, key, value, { budgetBytes: Number.POSITIVE_INFINITY }),
    );
  }
});

test.each([{ budgetBytes: -1 }, { budgetBytes: Number.NaN }, { bogus: 3 }, { causal: 1 }])(
  'a call with %o is a mistake',
  (options) => {
    for (const mechanism of [mechanisms.simpleTron(), mechanisms.sigmoidAttention({ length: 7 })]) {
      const attention = attentionFunctionOf(mechanism, { trainedWith: 'mechanism' });
      expect(() => attention(query, key, value, options as AttentionOptions)).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION' }),
      );
    }
  },
);

describe('refused with the reason', () => {
  const { simpleTron, sigmoidAttention, fastmax, rfa, trainableKernel, entmaxAttention } = mechanisms;
  const { sparsefinder, sbm, soft, relativeKernel, causalLuna } = mechanisms;
  test.each([
    ...[simpleTron(), sigmoidAttention(), fastmax(), rfa(), trainableKernel(), entmaxAttention()],
    ...[
      performer({ kind: 'relu' }),
      sparsefinder(),
      sbm(),
      soft(),
      relativeKernel({ length: 4 }),
      causalLuna(),
    ],
  ])('$name in a model trained with softmax', (mechanism) => {
    const build = (): unknown => attentionFunctionOf(mechanism, { trainedWith: 'softmax' });
    expect(build).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
    expect(build).toThrow(mechanism.refusals?.zeroShot);
  });

  test('a bias where there are no pairs', () => {
    const attention = attentionFunctionOf(simpleTron(), { trainedWith: 'mechanism' });
    expect(() => attention(query, key, value, { bias: zeros(backend, [1, 1, 7, 7]) })).toThrow(
      /single pairs/,
    );
  });

  test('a chunk of queries', () => {
    const attention = attentionFunctionOf(entmaxAttention(), { trainedWith: 'mechanism' });
    expect(() => attention(query, key, value, { queryChunk: 2 })).toThrow(/plans its chunks itself/);
  });

  test('keys that are queries', () => {
    expect(() => attentionFunctionOf(soft(), { trainedWith: 'mechanism' })).toThrow(/queries are its keys/);
  });
});
