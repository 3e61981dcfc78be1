import {
  crossEntropy,
  mul,
  reshape,
  scope,
  sub,
  type Tensor,
  tensor,
  valueAndGrad,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { disposeParameters, type ParameterTree, seedsFrom } from '@topk-attention/nn';
import { embeddedModel, Goldens, goldensFolder, largestDifference } from '@topk-attention/t5-goldens';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import {
  createT5,
  loadT5,
  loadT5Parameters,
  type T5Config,
  type T5ForwardOptions,
  t5Encode,
  t5Forward,
} from '../../src/index.js';
import { tinyConfig, tinyInputs, tinyParameters } from '../support/tiny.js';

const { sources, sourceLengths } = tinyInputs;
const labels = [4, 8, 2, 1, 6, 3, 10, -1];

/** Mean negative log likelihood of the labels. */
function lossOf(config: T5Config, options?: T5ForwardOptions): (parameters: ParameterTree) => Tensor {
  return (parameters) =>
    scope(() => {
      const logits = t5Forward(config, parameters, tinyInputs, options);
      const wanted = tensor(logits.backend, Int32Array.from(labels), [labels.length], 'i32');
      return crossEntropy(reshape(logits, [labels.length, config.vocabSize]), wanted);
    });
}

async function numberOf(x: Tensor): Promise<number> {
  const [value] = await x.data();
  x.dispose();
  return Number(value);
}

describe('t5Forward and t5Encode', () => {
  test('are what the model computes', async () => {
    const backend = createReferenceBackend();
    const place = { backend, source: `${goldensFolder}/t5-v1_1` };
    const model = await loadT5({ ...place, tokenizer: false });
    const { config, parameters } = await loadT5Parameters(place);
    expect(config).toEqual(model.config);
    expect(Object.keys(parameters)).toEqual(Object.keys(model.parameters));
    for (const choices of [{}, { attention: { k: 2 }, feedForward: { k: 9 } }]) {
      const logits = model.logits(sources, tinyInputs.targets, { ...choices, sourceLengths });
      const expected = Array.from(await logits.data(), Number);
      expect(await largestDifference(t5Forward(config, parameters, tinyInputs, { choices }), expected)).toBe(
        0,
      );
      const encoded = model.encode(sources, { ...choices, sourceLengths });
      const outputs = Array.from(await encoded.data(), Number);
      const inputs = { sources, sourceLengths };
      expect(await largestDifference(t5Encode(config, parameters, inputs, { choices }), outputs)).toBe(0);
      logits.dispose();
      encoded.dispose();
    }
    model.dispose();
    disposeParameters(parameters);
    expect(backend.memory().live).toBe(0);
  });

  test('recompute blocks with the same bits, in less memory', async () => {
    const backend = createReferenceBackend();
    const config = { ...tinyConfig(), dropoutRate: 0.1 };
    const parameters = tinyParameters(backend, config);
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
  });

  test('recompute blocks with weights that were made inside of the loss', async () => {
    const backend = createReferenceBackend();
    const config = tinyConfig();
    const parameters = tinyParameters(backend, config);
    const run = async (recompute: boolean) => {
      const loss = lossOf(config, { recompute });
      const { gradients } = valueAndGrad((given: ParameterTree) =>
        scope(() =>
          loss(Object.fromEntries(Object.entries(given).map(([name, one]) => [name, mul(one, 2)]))),
        ),
      )(parameters);
      return Promise.all(Object.values(gradients).map((one) => one.data()));
    };
    expect(await run(true)).toEqual(await run(false));
  });

  test('refuse parameters that are not those of the configuration', () => {
    const backend = createReferenceBackend();
    const config = tinyConfig();
    const { 'shared.weight': shared, ...rest } = tinyParameters(backend, config);
    const call = (parameters: ParameterTree) => () => t5Forward(config, parameters, tinyInputs);
    expect(call(rest)).toThrow(expect.objectContaining({ code: 'MISSING_WEIGHT' }));
    const name = 'encoder.final_layer_norm.weight';
    const wrong = { ...rest, 'shared.weight': shared as Tensor, [name]: shared as Tensor };
    expect(call(wrong)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
    expect(call(wrong)).toThrow(name);
    expect(() => createT5(config, wrong)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
  });

  test('refuse inputs and options that make no sense', () => {
    const backend = createReferenceBackend();
    const config = tinyConfig();
    const parameters = tinyParameters(backend, config);
    const call = (inputs: object, options?: object) => () =>
      t5Forward(config, parameters, { ...tinyInputs, ...inputs }, options);
    expect(call({ sources: [[99], [1]] })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(call({ targets: [[0]] })).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
    expect(call({}, { choices: { attention: { k: 0 } } })).toThrow(
      expect.objectContaining({ code: 'INVALID_K' }),
    );
    expect(call({}, { choices: { layers: { 'encoder.2': {} } } })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
    expect(call({}, { trace: { onAttentoin: () => {} } })).toThrow(/onAttentoin/);
  });
});

describe('gradients of the loss', () => {
  const STEP = 3e-6;

  test.each<[string, Parameters<typeof tinyConfig>[0], T5ForwardOptions]>([
    ['v1.0', { feed_forward_proj: 'relu' }, {}],
    ['v1.1', { feed_forward_proj: 'gated-gelu', tie_word_embeddings: false, num_decoder_layers: 1 }, {}],
    [
      'v1.1, top-k',
      { feed_forward_proj: 'gated-gelu', tie_word_embeddings: false },
      { choices: { attention: { k: 2 }, feedForward: { k: 5 } } },
    ],
    [
      'v1.1, top-k with dropout',
      { feed_forward_proj: 'gated-gelu', dropout_rate: 0.2 },
      { choices: { attention: { k: 3 } }, training: true, seeds: seedsFrom(5) },
    ],
  ])('are finite differences, for every parameter: %s', async (_, changes, options) => {
    const backend = createReferenceBackend({ floatStorage: 'f64' });
    const config = tinyConfig(changes);
    const parameters = tinyParameters(backend, config);
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
  });
});

test('in training, dropout depends on the seeds; without seeds it is refused', async () => {
  const backend = createReferenceBackend();
  const config = tinyConfig({ dropout_rate: 0.3 });
  const parameters = tinyParameters(backend, config);
  const loss = (options: T5ForwardOptions) => numberOf(lossOf(config, options)(parameters));
  const trained = (step: number) => loss({ training: true, seeds: seedsFrom(step) });
  expect(await trained(1)).toBe(await trained(1));
  expect(await trained(1)).not.toBe(await trained(2));
  expect(await loss({ seeds: seedsFrom(1) })).toBe(await loss({}));
  expect(() => lossOf(config, { training: true })(parameters)).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION' }),
  );
});

optional(
  'a step of SGD lowers the loss of the embedded model, and a model of the result generates',
  thoroughAvailability(),
  async () => {
    const backend = createReferenceBackend();
    const { config, parameters } = await loadT5Parameters({ backend, source: embeddedModel });
    const goldens = await Goldens.read('embedded/goldens.safetensors');
    const prompts = goldens.packed('generate.promptIds', 'generate.promptStarts');
    const source = [...prompts].sort((a, b) => a.length - b.length)[0] as readonly number[];
    // Not the answer: the model is to learn another.
    const labels = Int32Array.of(40, 41, 1);
    const loss = (p: ParameterTree): Tensor =>
      scope(() => {
        const targets = [[config.decoderStartId, 40, 41]];
        const choices = { attention: { k: 16 }, feedForward: { k: 128 } };
        const logits = t5Forward(config, p, { sources: [source], targets }, { choices });
        return crossEntropy(reshape(logits, [3, config.vocabSize]), tensor(backend, labels, [3], 'i32'));
      });
    const { value, gradients } = valueAndGrad(loss)(parameters);
    const before = await numberOf(value);
    const updated: ParameterTree = Object.fromEntries(
      Object.entries(parameters).map(([name, parameter]) => [
        name,
        scope(() => sub(parameter, mul(gradients[name] as Tensor, 0.001))),
      ]),
    );
    disposeParameters(gradients);
    const after = await numberOf(loss(updated));
    expect(before).toBeGreaterThan(1);
    expect(after).toBeLessThan(before);
    disposeParameters(parameters);
    const model = createT5(config, updated, { attention: { k: 16 } });
    const { ids } = await model.generate(source, { maxNewTokens: 2 });
    expect(ids.length).toBeGreaterThan(0);
    model.dispose();
    expect(backend.memory().live).toBe(0);
  },
);
