import { crossEntropy, reshape, scope, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { type ParameterTree, seedsFrom } from '@topk-attention/nn';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import {
  type CausalLMConfig,
  type CausalLMForwardOptions,
  causalLMForward,
  createCausalLM,
} from '../../src/index.js';
import { tinyCausalConfig, tinyCausalParameters } from '../support/tiny-causal.js';

const inputs = {
  tokens: [
    [5, 3, 9, 2],
    [0, 0, 7, 8],
  ],
  leftPadding: [0, 2],
};
const labels = [3, 9, 2, 1, -1, -1, 8, 1];

/** Mean negative log likelihood of the next tokens. */
function lossOf(config: CausalLMConfig, options?: CausalLMForwardOptions): (p: ParameterTree) => Tensor {
  return (parameters) =>
    scope(() => {
      const logits = causalLMForward(config, parameters, inputs, options);
      const wanted = tensor(logits.backend, Int32Array.from(labels), [labels.length], 'i32');
      return crossEntropy(reshape(logits, [labels.length, config.vocabSize]), wanted);
    });
}

async function numberOf(x: Tensor): Promise<number> {
  const [value] = await x.data();
  x.dispose();
  return Number(value);
}

describe('gradients of the loss', () => {
  const STEP = 3e-6;
  const dropout = { embd_pdrop: 0.2, attn_pdrop: 0.2, resid_pdrop: 0.2 };
  const training = { training: true, seeds: seedsFrom(5) };

  const cases: readonly (readonly [string, CausalLMConfig, CausalLMForwardOptions])[] = [
    ['GPT-2, top-k', tinyCausalConfig('gpt2'), { choices: { attention: { k: 2 }, feedForward: { k: 5 } } }],
    ['GPT-2 with dropout', tinyCausalConfig('gpt2', dropout), training],
    ['Llama', tinyCausalConfig('llama'), {}],
    ['Qwen3, top-k', tinyCausalConfig('qwen3'), { choices: { attention: { k: 2 }, feedForward: { k: 5 } } }],
  ];
  for (const [at, [name, config, options]] of cases.entries()) {
    // One of each layout in the fast lane, with everything that only training has.
    const isQuick = at === 1 || at === 3;
    const title = `are finite differences, for every parameter: ${name}`;
    if (isQuick) test(title, () => check(config, options));
    else optional(title, thoroughAvailability(), () => check(config, options));
  }

  const check = async (config: CausalLMConfig, options: CausalLMForwardOptions): Promise<void> => {
    const backend = createReferenceBackend({ floatStorage: 'f64' });
    const parameters = tinyCausalParameters(backend, config);
    const loss = lossOf(config, options);
    const { value, gradients } = valueAndGrad(loss)(parameters);
    expect(Object.keys(gradients)).toEqual(Object.keys(parameters));
    expect(await numberOf(value)).toBeGreaterThan(0);
    const random = randomBelow(3);
    let largest = 0;
    for (const [name, parameter] of Object.entries(parameters)) {
      // Along one random direction: every element takes part.
      const direction = Float64Array.from({ length: parameter.size }, () => random(2001) / 1000 - 1);
      const values = await parameter.data();
      const at = (step: number): Promise<number> => {
        const moved = Float64Array.from(
          values,
          (one, index) => Number(one) + step * (direction[index] as number),
        );
        return numberOf(loss({ ...parameters, [name]: tensor(backend, moved, parameter.shape) }));
      };
      const expected = ((await at(STEP)) - (await at(-STEP))) / (2 * STEP);
      const own = (await (gradients[name] as Tensor).data()) as Float64Array;
      const got = own.reduce((sum, one, index) => sum + one * (direction[index] as number), 0);
      expect(Math.abs(got - expected), name).toBeLessThan(1e-6);
      largest = Math.max(largest, Math.abs(got));
    }
    expect(largest).toBeGreaterThan(0.01);
  };
});

test.each(['gpt2', 'llama'] as const)(
  '%s: blocks are recomputed with the same bits, in less memory',
  async (family) => {
    const backend = createReferenceBackend();
    const config = tinyCausalConfig(family, { resid_pdrop: 0.1, attention_dropout: 0.1, attn_pdrop: 0.1 });
    const parameters = tinyCausalParameters(backend, config);
    const run = async (recompute: boolean) => {
      const options = { training: true, seeds: seedsFrom(5), recompute, choices: { attention: { k: 2 } } };
      const { live } = backend.memory();
      backend.resetPeak();
      const { value, gradients } = valueAndGrad(lossOf(config, options))(parameters);
      const peak = backend.memory().peak as number;
      const read = await Promise.all([value, ...Object.values(gradients)].map((one) => one.data()));
      for (const one of [value, ...Object.values(gradients)]) one.dispose();
      expect(backend.memory().live).toBe(live);
      return { read, peak };
    };
    const [plain, again] = [await run(false), await run(true)];
    expect(again.read).toEqual(plain.read);
    expect(again.peak).toBeLessThan(plain.peak);
  },
);

test('what pads a row, left or right, changes nothing but its own logits', async () => {
  const backend = createReferenceBackend();
  for (const family of ['gpt2', 'llama'] as const) {
    const config = tinyCausalConfig(family);
    const parameters = tinyCausalParameters(backend, config);
    const logits = async (tokens: number[][], leftPadding?: number[]) => {
      const given = { tokens, ...(leftPadding && { leftPadding }) };
      return Array.from(await causalLMForward(config, parameters, given).data(), Number);
    };
    const alone = await logits([[7, 8, 4]]);
    const left = await logits([[2, 9, 7, 8, 4]], [2]);
    const right = await logits([[7, 8, 4, 3, 3]]);
    const { vocabSize } = config;
    for (const [at, one] of alone.entries()) {
      expect(left[2 * vocabSize + at]).toBeCloseTo(one, 5);
      expect(right[at]).toBeCloseTo(one, 5);
    }
    expect(await logits([[2, 9, 7, 8, 4]])).not.toEqual(left);
  }
});

test('refuses inputs, options and parameters that make no sense', () => {
  const backend = createReferenceBackend();
  const config = tinyCausalConfig('gpt2');
  const parameters = tinyCausalParameters(backend, config);
  const call = (changes: object, options?: object) => () =>
    causalLMForward(config, parameters, { ...inputs, ...changes }, options);
  const code = (wanted: string) => expect.objectContaining({ code: wanted });
  expect(
    call({
      tokens: [
        [99, 1, 1, 1],
        [1, 1, 1, 1],
      ],
    }),
  ).toThrow(code('INVALID_OPTION'));
  expect(call({ tokens: [[1, 2], [1]] })).toThrow(code('SHAPE_MISMATCH'));
  expect(call({ tokens: [] })).toThrow(code('EMPTY_SEQUENCE'));
  expect(call({ leftPadding: [0] })).toThrow(code('SHAPE_MISMATCH'));
  expect(call({ leftPadding: Int32Array.of(0, 2) })).not.toThrow();
  const model = createCausalLM(config, tinyCausalParameters(backend, config));
  expect(() => model.logits(JSON.parse('"5 3"'))).toThrow(code('INVALID_OPTION'));
  expect(() => model.logits(JSON.parse('[5, 3]'))).toThrow(code('INVALID_OPTION'));
  expect(call({ leftPadding: [0, 4] })).toThrow(code('SHAPE_MISMATCH'));
  expect(call({ tokens: [Array(17).fill(2)], leftPadding: [0] })).toThrow(/17/);
  expect(call({ tokens: [Array(17).fill(2)], leftPadding: [0] })).toThrow(code('INVALID_OPTION'));
  expect(call({}, { choices: { attention: { k: 0 } } })).toThrow(code('INVALID_K'));
  expect(call({}, { choices: { layers: { 'decoder.2': {} } } })).toThrow(code('INVALID_OPTION'));
  expect(call({}, { choices: { crossAttention: { k: 2 } } })).toThrow(/crossAttention/);
  expect(call({}, { budgetBytes: 16 })).toThrow(code('DOES_NOT_FIT'));
  expect(call({}, { training: true, seeds: undefined })).not.toThrow();

  const { 'transformer.wte.weight': embedding, ...rest } = parameters;
  expect(() => causalLMForward(config, rest, inputs)).toThrow(code('MISSING_WEIGHT'));
  const wrong = { ...parameters, 'transformer.ln_f.bias': embedding as Tensor };
  expect(() => causalLMForward(config, wrong, inputs)).toThrow(code('SHAPE_MISMATCH'));
  expect(() => createCausalLM(config, wrong)).toThrow(/transformer.ln_f.bias/);
});
