import { exactAttention, narrow, zeros } from '@topk-attention/core';
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

  test('keys that are queries', () => {
    expect(() => attentionFunctionOf(soft(), { trainedWith: 'mechanism' })).toThrow(/queries are its keys/);
  });
});
