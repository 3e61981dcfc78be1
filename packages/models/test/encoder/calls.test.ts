import { crossEntropy, exactAttention, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Encoder,
  encoderForward,
  encoderLogits,
  type KeptKeys,
  type KeptUnits,
  loadEncoder,
  type ParameterTree,
  type Progress,
  seedsFrom,
} from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { folderOf, loadGolden } from './support.js';

const backend = createReferenceBackend();
const models: { [task: string]: Encoder } = {};

beforeAll(async () => {
  const tasks = ['text-classification', 'token-classification', 'fill-mask', 'question-answering'] as const;
  for (const task of tasks) models[task] = await loadGolden(backend, 'bert', task);
});

afterAll(() => {
  for (const model of Object.values(models)) model.dispose();
  expect(backend.memory().live).toBe(0);
});

const of = (task: string): Encoder => models[task] as Encoder;

function softmaxOf(logits: readonly number[]): readonly number[] {
  const weights = logits.map(Math.exp);
  const sum = weights.reduce((a, b) => a + b);
  return weights.map((one) => one / sum);
}

describe('classes', () => {
  test('of texts: softmax of the logits, the best first, whatever the batch', async () => {
    const model = of('text-classification');
    const texts = ['Who went to the garden?', 'the', 'The café near the old harbour opened in 1987.'];
    const all = await keepsNothing(backend, () => model.classify(texts));
    for (const [row, text] of texts.entries()) {
      const ids = model.tokenizer?.encode(text) ?? [];
      const logits = model.logits([ids]);
      const expected = softmaxOf(Array.from(await logits.data(), Number));
      logits.dispose();
      expect(all[row]?.map(({ label }) => label).sort()).toEqual(['negative', 'neutral', 'positive']);
      const scores = new Map(all[row]?.map(({ label, score }) => [label, score]));
      for (const [id, label] of ['negative', 'neutral', 'positive'].entries()) {
        expect(scores.get(label)).toBeCloseTo(expected[id] as number, 5);
      }
      expect(all[row]?.[0]?.score).toBe(Math.max(...scores.values()));
    }
    const [first] = await model.classify(texts, { batchSize: 1 });
    expect(first?.[0]?.label).toBe(all[0]?.[0]?.label);
    expect(first?.[0]?.score).toBeCloseTo(all[0]?.[0]?.score ?? 0, 5);
  });

  test('of pairs: both texts, with types', async () => {
    const model = of('text-classification');
    const [pair] = await model.classify([{ text: 'Who went?', pair: 'Mary went.' }]);
    const spans = model.tokenizer?.spans;
    const wrapped = spans?.wrap(spans.encode('Who went?').ids, spans.encode('Mary went.').ids);
    expect(new Set(wrapped?.types)).toEqual(new Set([0, 1]));
    const logits = model.logits([wrapped?.ids ?? []], { types: [wrapped?.types ?? []] });
    const expected = softmaxOf(Array.from(await logits.data(), Number));
    logits.dispose();
    expect(pair?.[0]?.score).toBeCloseTo(Math.max(...expected), 5);
  });

  test('of tokens, with their places', async () => {
    const text = 'Zoë went  home';
    const [tokens = []] = await of('token-classification').classifyTokens([text]);
    const places = tokens.map(({ start, end }) => (start === undefined ? undefined : text.slice(start, end)));
    expect(places[0]).toBeUndefined();
    expect(places.at(-1)).toBeUndefined();
    expect(places.slice(1, -1).join('')).toBe('Zoëwenthome');
    // A text that is cut still ends with a special token, which has no place.
    const [cut = []] = await of('token-classification').classifyTokens(['the '.repeat(70)], {
      truncate: true,
    });
    expect(cut).toHaveLength(64);
    expect(cut.map(({ start }) => start).slice(0, 3)).toEqual([undefined, 0, 4]);
    expect(cut.slice(-2).map(({ end }) => end)).toEqual([247, undefined]);
    expect(tokens.every(({ label, score }) => label !== '' && score > 1 / 3 && score <= 1)).toBe(true);
  });
});

test('masks: the best words of the logits at their places', async () => {
  const model = of('fill-mask');
  const texts = ['the [MASK] went to the [MASK].', 'a [MASK]'];
  const filled = await keepsNothing(backend, () => model.fillMask(texts, { topK: 3 }));
  expect(filled.map((row) => row.map((words) => words.length))).toEqual([[3, 3], [3]]);
  const ids = model.tokenizer?.encode(texts[0] as string) ?? [];
  const logits = model.logits([ids]);
  const values = Array.from(await logits.data(), Number);
  logits.dispose();
  const { vocabSize } = model.config;
  const mask = model.tokenizer?.spans?.encode('[MASK]').ids[0];
  const places = ids.flatMap((id, at) => (id === mask ? [at] : []));
  for (const [index, place] of places.entries()) {
    const row = values.slice(place * vocabSize, (place + 1) * vocabSize);
    const best = softmaxOf(row)
      .map((score, id) => ({ score, id }))
      .sort((a, b) => b.score - a.score);
    for (const [rank, word] of (filled[0]?.[index] ?? []).entries()) {
      expect(word.id).toBe(best[rank]?.id);
      expect(word.score).toBeCloseTo(best[rank]?.score ?? 0, 5);
    }
  }
  const [[all = []] = []] = await model.fillMask(['a [MASK]'], { topK: vocabSize + 1 });
  expect(all).toHaveLength(vocabSize);
  expect(all.slice(0, 3)).toEqual(filled[1]?.[0]);
  expect(all.every(({ score }, at) => score <= (all[at - 1]?.score ?? 1))).toBe(true);
  expect(await errorOf(model.fillMask(['no mask']))).toMatchObject({ code: 'INVALID_OPTION' });
});

describe('embeddings', () => {
  test('of a batch are those of each text alone', async () => {
    const model = of('question-answering');
    const texts = ['Who went to the garden?', 'a', 'unaffordable unhappiest'];
    const together = await keepsNothing(backend, () => model.embed(texts, { normalize: true }));
    for (const [row, text] of texts.entries()) {
      const [alone] = await model.embed([text], { normalize: true });
      const cosine = together[row]?.reduce((sum, one, at) => sum + one * (alone?.[at] ?? 0), 0);
      expect(cosine).toBeCloseTo(1, 6);
    }
  });

  test('top-k for this call alone', async () => {
    const model = of('question-answering');
    const text = ['Who went to the garden and then to the kitchen?'];
    const [exact] = await model.embed(text);
    const [kept] = await model.embed(text, { attention: { k: 1 }, feedForward: { k: 3 } });
    const [all] = await model.embed(text, { attention: { k: 1000 }, feedForward: { k: 1000 } });
    const apart = (a?: Float32Array, b?: Float32Array): number =>
      Math.max(...Array.from(a ?? [], (one, at) => Math.abs(one - (b?.[at] ?? Number.NaN))));
    expect(apart(exact, kept)).toBeGreaterThan(1e-2);
    expect(apart(exact, all)).toBeLessThan(1e-5);
    const own = await model.embed(text, { attention: exactAttention });
    expect(apart(exact, own[0])).toBe(0);
  });

  test('a feed-forward choice ranks units by what they contribute', async () => {
    const model = of('question-answering');
    const ids = [2, 9, 17, 30, 41];
    const hidden = async (select?: 'contribution' | 'preactivation'): Promise<readonly number[]> => {
      const states = model.encode([ids], { feedForward: { k: 6, ...(select && { select }) } });
      const values = Array.from(await states.data(), Number);
      states.dispose();
      return values;
    };
    expect(await hidden()).toEqual(await hidden('contribution'));
    expect(await hidden()).not.toEqual(await hidden('preactivation'));
  });
});

describe('lengths', () => {
  const long = 'the garden '.repeat(60);

  test('more tokens than positions are an error', async () => {
    const model = of('text-classification');
    const error = await errorOf(model.embed([long]));
    expect(error).toMatchObject({ code: 'TOO_LONG', expected: 'at most 64 tokens', got: '122' });
    const row = Array.from({ length: 65 }, () => 9);
    expect(await errorOf(model.embed([row], { truncate: true }))).toMatchObject({ code: 'TOO_LONG' });
    expect(() => model.encode([row])).toThrow(expect.objectContaining({ code: 'TOO_LONG' }));
  });

  test('truncated texts keep their special tokens', async () => {
    const model = of('text-classification');
    const seen: number[] = [];
    const trace = {
      onResidual: (_path: string, x: { readonly shape: readonly number[]; dispose(): void }) => {
        seen.push(x.shape[1] as number);
        x.dispose();
      },
    };
    const [cut] = await model.embed([long], { truncate: true, trace });
    expect(seen[0]).toBe(64);
    const ids = model.tokenizer?.encode(long) ?? [];
    const [expected] = await model.embed([[...ids.slice(0, 63), ids.at(-1) as number]]);
    expect(cut).toEqual(expected);
    // The longer text of a pair gives way.
    const spans = model.tokenizer?.spans;
    if (spans === undefined) throw new Error('no spans');
    const [short, much] = [spans.encode('Who went?').ids, spans.encode(long).ids];
    // 61 beside the special tokens.
    for (const [text, pair, first, second] of [
      ['Who went?', long, short, much.slice(0, 61 - short.length)],
      [long, 'Who went?', much.slice(0, 61 - short.length), short],
      [long, long, much.slice(0, 30), much.slice(0, 31)],
      [`${long} the`, long, much.slice(0, 31), much.slice(0, 30)],
    ] as const) {
      const { ids, types } = spans.wrap(first, second);
      expect(ids).toHaveLength(64);
      const states = model.encode([ids], { types: [types] });
      const expected = Array.from(await states.data(), Number).slice(0, model.config.width);
      states.dispose();
      const [vector] = await model.embed([{ text, pair }], { truncate: true, pooling: 'cls' });
      expect(Array.from(vector ?? [])).toEqual(expected);
    }
  });

  test('nothing to read', async () => {
    const model = of('question-answering');
    expect(await errorOf(model.embed([]))).toMatchObject({ code: 'EMPTY_SEQUENCE' });
    expect(await errorOf(model.embed([[]]))).toMatchObject({ code: 'EMPTY_SEQUENCE' });
    const asked = { question: '', context: 'the garden' };
    expect(await errorOf(model.answer(asked))).toMatchObject({ code: 'EMPTY_SEQUENCE' });
    const nowhere = { question: 'where?', context: ' \u200b ' };
    expect(await errorOf(model.answer(nowhere))).toMatchObject({ code: 'EMPTY_SEQUENCE' });
  });

  test('a question that leaves no room for the context', async () => {
    const error = await errorOf(of('question-answering').answer({ question: long, context: long }));
    expect(error).toMatchObject({ code: 'TOO_LONG', got: '120 tokens' });
  });
});

describe('what a call refuses', () => {
  test('heads that the model lacks', async () => {
    const model = of('text-classification');
    expect(await errorOf(model.classifyTokens(['a']))).toMatchObject({ code: 'UNSUPPORTED' });
    expect(await errorOf(model.fillMask(['a']))).toMatchObject({ code: 'UNSUPPORTED' });
    expect(await errorOf(model.answer({ question: 'a', context: 'b' }))).toMatchObject({
      code: 'UNSUPPORTED',
    });
    expect(await errorOf(of('fill-mask').classify(['a']))).toMatchObject({ code: 'UNSUPPORTED' });
    const bare = await loadGolden(backend, 'bert', 'feature-extraction');
    expect(() => bare.logits([[1]])).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
    bare.dispose();
  });

  test.each([
    [[[1, 100000]], 'INVALID_OPTION'],
    [[[1.5]], 'INVALID_OPTION'],
    [[undefined], 'INVALID_OPTION'],
    [[{ text: 'a', pair: 3 }], 'INVALID_OPTION'],
    ['a text', 'INVALID_OPTION'],
    [undefined, 'INVALID_OPTION'],
  ])('sources %j', async (sources, code) => {
    const error = await errorOf(of('text-classification').embed(sources as never));
    expect(error).toMatchObject({ code });
    expect(error.message).toContain('embed');
  });

  test.each([
    { batchSize: 0 },
    { budgetBytes: -1 },
    { pooling: 'max' },
    { layers: { 'encoder.9': { attention: 'exact' } } },
  ])('options %j', async (options) => {
    const call = of('text-classification').embed(['a'], options as never);
    expect(await errorOf(call)).toMatchObject({ code: 'INVALID_OPTION' });
  });

  test.each([
    { stride: 64 },
    { maxTokens: 65 },
    { maxTokens: 0 },
    { topK: 0 },
    { maxAnswerTokens: 1.5 },
    { stride: -1 },
  ])('options of answers %j', async (options) => {
    const call = of('question-answering').answer({ question: 'a', context: 'b' }, options);
    expect(await errorOf(call)).toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('types that do not fit', () => {
    const model = of('text-classification');
    expect(() => model.encode([[1, 2]], { types: [[0]] })).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
    expect(() => model.encode([[1, 2]], { types: [[0, 2]] })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });

  test('texts without a tokenizer', async () => {
    const model = await loadEncoder({ backend, source: folderOf('bert'), tokenizer: false });
    expect(await errorOf(model.embed(['a']))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await errorOf(model.embed([{ text: 'a', pair: 'b' }]))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await errorOf(model.answer({ question: 'a', context: 'b' }))).toMatchObject({
      code: 'INVALID_OPTION',
    });
    model.dispose();
    model.dispose();
    expect(await errorOf(model.embed([[1]]))).toMatchObject({ code: 'DISPOSED' });
  });

  test('an attention that does not fit its budget', async () => {
    const call = of('text-classification').embed(['the garden'], { budgetBytes: 16 });
    expect(await errorOf(call)).toMatchObject({ code: 'DOES_NOT_FIT' });
  });
});

test('a signal stops between layers, and nothing is left', async () => {
  const model = of('text-classification');
  const aborting = new AbortController();
  const progress: Progress[] = [];
  await keepsNothing(backend, async () => {
    const call = model.embed(['the', 'garden'], {
      batchSize: 1,
      signal: aborting.signal,
      onProgress: (one) => {
        progress.push(one);
        if (one.done === 3) aborting.abort();
      },
    });
    expect(await errorOf(call)).toMatchObject({ code: 'ABORTED' });
  });
  expect(progress).toEqual([1, 2, 3].map((done) => ({ stage: 'encode', done, total: 4 })));
});

test('hooks see the keys and units that were kept, and replace them', async () => {
  const model = of('text-classification');
  const seen: string[] = [];
  const looking = {
    onAttention: (path: string, { indices, scores, weights }: KeptKeys) => {
      seen.push(`${path} ${indices.shape}`);
      for (const one of [indices, scores, weights]) one.dispose();
    },
    onFeedForward: (path: string, { indices, activations }: KeptUnits) => {
      seen.push(`${path} ${indices.shape}`);
      for (const one of [indices, activations]) one.dispose();
    },
    onBeforeFeedForward: (path: string, x: Tensor) => {
      seen.push(`before ${path} ${x.shape}`);
      x.dispose();
    },
  };
  const plain = model.encode([[2, 9, 17]], { attention: { k: 2 }, feedForward: { k: 5 } });
  const traced = model.encode([[2, 9, 17]], {
    attention: { k: 2 },
    feedForward: { k: 5 },
    trace: looking,
  });
  expect(seen).toEqual([
    'encoder.0.attention 1,4,3,2',
    `before encoder.0.feedForward 1,3,${model.config.width}`,
    'encoder.0.feedForward 1,3,5',
    'encoder.1.attention 1,4,3,2',
    `before encoder.1.feedForward 1,3,${model.config.width}`,
    'encoder.1.feedForward 1,3,5',
  ]);
  expect(await traced.data()).toEqual(await plain.data());
  plain.dispose();
  traced.dispose();
  const exact = model.encode([[2, 9, 17]]);
  const changed = model.encode([[2, 9, 17]], {
    trace: {
      overrideActivations: (path) =>
        path === 'encoder.1.feedForward' ? { units: [7], activations: 3 } : undefined,
    },
  });
  expect(await changed.data()).not.toEqual(await exact.data());
  exact.dispose();
  changed.dispose();
});

test('explain names every layer and its bytes', () => {
  const layers = of('text-classification').explain({
    sourceLength: 20,
    attention: { k: 4 },
    layers: { 'encoder.1': { attention: exactAttention } },
  });
  expect(layers.map(({ name }) => name)).toEqual([
    'encoder.0 attention',
    'encoder.0 feedForward',
    'encoder.1 feedForward',
  ]);
});

test('training drops by seeds, and a block that runs again gives the same gradients', async () => {
  const { config, parameters } = of('text-classification');
  const labels = tensor(backend, Int32Array.of(1), [1], 'i32');
  const gradientsOf = async (seed: number, recompute: boolean): Promise<readonly number[]> => {
    const options = { training: true, seeds: seedsFrom(seed), recompute };
    const { value, gradients } = valueAndGrad((p: ParameterTree) =>
      crossEntropy(encoderLogits(config, p, { sources: [[2, 9, 17, 30]] }, options), labels),
    )(parameters);
    const query = gradients['bert.encoder.layer.0.attention.self.query.weight'] as Tensor;
    const numbers = [...(await value.data()), ...(await query.data())].map(Number);
    for (const one of [value, ...Object.values(gradients)]) one.dispose();
    return numbers;
  };
  const first = await gradientsOf(1, false);
  expect(await gradientsOf(1, true)).toEqual(first);
  expect(await gradientsOf(2, false)).not.toEqual(first);
  labels.dispose();
  const run = (): unknown => encoderForward(config, parameters, { sources: [[2]] }, { training: true });
  expect(run).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});
