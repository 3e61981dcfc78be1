import type { Tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { errorBetween } from '../../src/choosing-k/output-error.js';
import {
  createEncoder,
  type Encoder,
  type EncoderSource,
  type EncoderTask,
  kErrors,
  loadEncoder,
  loadEncoderParameters,
  type StackChoices,
  suggestK,
} from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { folderOf, loadGolden } from './support.js';

const backend = createReferenceBackend();
const EXACT = { attention: 'exact', feedForward: 'exact' } as const;
const text = 'The café near the old harbour opened in 1987.';

async function read(
  output: Tensor,
): Promise<{ readonly shape: readonly number[]; readonly values: number[] }> {
  const values = Array.from(await output.data(), Number);
  const { shape } = output;
  output.dispose();
  return { shape, values };
}

/** What is compared of a source, exact unless choices say otherwise. */
async function comparedOf(model: Encoder, source: EncoderSource, choices: StackChoices = {}) {
  const { outputs, run } = await model.comparison(source);
  return { outputs, ...(await read(run({ ...EXACT, ...choices }))) };
}

afterAll(() => expect(backend.memory().live).toBe(0));

describe('what is compared', () => {
  const compare = async (
    task: EncoderTask,
    source: EncoderSource,
    check: (model: Encoder, compared: Awaited<ReturnType<typeof comparedOf>>) => Promise<void>,
  ): Promise<void> => {
    const model = await loadGolden(backend, 'bert', task);
    await check(model, await comparedOf(model, source));
    model.dispose();
  };

  test('of a pair, the classes', () =>
    compare('text-classification', { text: 'Who went?', pair: 'Mary went.' }, async (model, compared) => {
      expect(compared).toMatchObject({ outputs: 'logits', shape: [1, 3] });
      const spans = model.tokenizer?.spans;
      const pair = spans?.wrap(spans.encode('Who went?').ids, spans.encode('Mary went.').ids);
      const { values } = await read(model.logits([pair?.ids ?? []], { types: [pair?.types ?? []] }));
      expect(compared.values).toEqual(values);
    }));

  test('of a text, the classes of its tokens', () =>
    compare('token-classification', text, async (model, compared) => {
      expect(compared.outputs).toBe('logits');
      const ids = model.tokenizer?.encode(text) ?? [];
      expect(compared).toMatchObject(await read(model.logits([ids])));
    }));

  test('of a question, begins and ends among all tokens', () =>
    compare('question-answering', text, async (model, { outputs, shape, values }) => {
      expect(outputs).toBe('logits');
      const { values: pairs } = await read(model.logits([model.tokenizer?.encode(text) ?? []]));
      expect(shape).toEqual([1, 2, pairs.length / 2]);
      const own = (side: number): readonly number[] => pairs.filter((_, at) => at % 2 === side);
      expect(values).toEqual([...own(0), ...own(1)]);
    }));

  test('of masks, their words alone', () =>
    compare('fill-mask', 'the [MASK] went to the [MASK].', async (model, { outputs, shape, values }) => {
      expect(outputs).toBe('logits');
      const { vocabSize } = model.config;
      expect(shape).toEqual([1, 2, vocabSize]);
      const ids = model.tokenizer?.encode('the [MASK] went to the [MASK].') ?? [];
      const all = await read(model.logits([ids]));
      const second = ids.lastIndexOf(model.tokenizer?.spans?.encode('[MASK]').ids[0] ?? -1);
      const expected = all.values.slice(second * vocabSize, (second + 1) * vocabSize);
      for (const [at, one] of expected.entries()) expect(values[vocabSize + at]).toBeCloseTo(one, 5);
      expect(await errorOf(model.comparison('no mask'))).toMatchObject({ code: 'INVALID_OPTION' });
    }));

  test('without a head, the hidden states', () =>
    compare('feature-extraction', text, async (model, compared) => {
      expect(compared.outputs).toBe('vectors');
      expect(compared).toMatchObject(await read(model.encode([model.tokenizer?.encode(text) ?? []])));
    }));

  test('of classes that hold each by itself, whether each does; of a regression, the hidden states', async () => {
    const task = 'text-classification';
    const { config, parameters } = await loadEncoderParameters({ backend, source: folderOf('bert'), task });
    const ids = [2, 9, 17, 30];
    const several = createEncoder({ ...config, problem: 'multi-label' }, parameters);
    const { outputs, shape, values } = await comparedOf(several, ids);
    expect({ outputs, shape }).toEqual({ outputs: 'logits', shape: [1, 3, 2] });
    expect(values).toEqual((await read(several.logits([ids]))).values.flatMap((one) => [one, 0]));
    const regression = createEncoder({ ...config, problem: 'regression' }, parameters);
    expect(await comparedOf(regression, ids)).toMatchObject({ outputs: 'vectors', shape: [1, 4, 32] });
    several.dispose();
  });
});

describe('choosing k for an encoder', () => {
  let model: Encoder;
  const samples: readonly EncoderSource[] = [text, { text: 'Who went?', pair: 'Mary went to the garden.' }];

  beforeAll(async () => {
    // Whatever the load said, the search runs its own choices.
    const task = 'token-classification';
    model = await loadEncoder({ backend, source: folderOf('bert'), task, attention: { k: 1 } });
  });
  afterAll(() => model.dispose());

  /** The mean divergence of the first sample, straight from the model's logits. */
  async function divergence(choices: StackChoices): Promise<number> {
    const ids = model.tokenizer?.encode(text) ?? [];
    const [exact, other] = [await read(model.logits([ids], EXACT)), await read(model.logits([ids], choices))];
    return errorBetween({ width: 3, values: exact.values }, other.values, true).kl as number;
  }

  test('the bound holds with k, and not below', async () => {
    const tolerance = 0.01;
    const { k, error, most } = await keepsNothing(backend, () => suggestK(model, [text], { tolerance }));
    expect(most).toBe(model.tokenizer?.encode(text).length);
    if (k === 'exact' || k === 1) throw new Error(`${k}`);
    expect(error.kl).toBeLessThanOrEqual(tolerance);
    expect(await divergence({ attention: { k } })).toBeCloseTo(error.kl as number, 6);
    expect(await divergence({ attention: { k: k - 1 } })).toBeGreaterThan(tolerance);
  });

  test('choices of the layers are what the calls take', async () => {
    for (const of of ['attention', 'feedForward'] as const) {
      const tolerance = 0.01;
      const { layers, choices, choicesError } = await suggestK(model, samples, { tolerance, of });
      expect(layers.map(({ path, part }) => `${path}.${part}`)).toEqual([
        `encoder.0.${of}`,
        `encoder.1.${of}`,
      ]);
      expect(await divergence(choices)).toBeLessThanOrEqual((choicesError.kl as number) + 1e-6);
      expect(await model.classifyTokens([text], choices)).toHaveLength(1);
    }
  });

  test('a report, and vectors of an encoder without a head', async () => {
    const bare = await loadGolden(backend, 'distilbert', 'feature-extraction');
    const errors = await keepsNothing(backend, () => kErrors(bare, samples, { ks: [1, 8] }));
    expect(errors).toHaveLength(4);
    for (const { residual, output } of errors) {
      expect(residual).toBeGreaterThan(0);
      expect(output.kl).toBeUndefined();
      expect(output.cosine).toBeGreaterThan(0);
    }
    const { k, error } = await suggestK(bare, samples, { tolerance: 0.01 });
    if (k === 'exact') throw new Error(k);
    expect(error.cosine).toBeLessThanOrEqual(0.01);
    const [exact, kept] = [await comparedOf(bare, text), await comparedOf(bare, text, { attention: { k } })];
    const own = errorBetween({ width: bare.config.width, values: exact.values }, kept.values, false);
    expect(own.cosine).toBeLessThanOrEqual(error.cosine + 1e-9);
    bare.dispose();
  });

  test('samples that say nothing are refused, and a signal stops', async () => {
    const refused = (given: readonly unknown[]) =>
      errorOf(suggestK(model, given as readonly EncoderSource[], { tolerance: 0.1 }));
    expect(await refused([text, []])).toMatchObject({ code: 'EMPTY_SEQUENCE' });
    expect(await refused([{ question: text }])).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await refused(['the '.repeat(70)])).toMatchObject({ code: 'TOO_LONG' });
    const stopped = await keepsNothing(backend, () => {
      const aborting = new AbortController();
      const options = { tolerance: 0.1, signal: aborting.signal, onProgress: () => aborting.abort() };
      return errorOf(suggestK(model, samples, options));
    });
    expect(stopped.code).toBe('ABORTED');
    const gone = await loadGolden(backend, 'bert');
    gone.dispose();
    expect(await errorOf(gone.comparison([1]))).toMatchObject({ code: 'DISPOSED' });
  });
});
