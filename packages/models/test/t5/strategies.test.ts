import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createT5, type GeneratedToken, type GenerateOptions, loadT5, type T5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
import { recordingBackend } from '../support/recording-backend.js';
import { type MemorySource, smallCheckpoint } from '../support/sources.js';
import { tinyConfig, tinyParameters } from '../support/tiny.js';

const backend = createReferenceBackend();
const source = [9, 8, 1];
let model: T5;

beforeAll(async () => {
  model = await loadT5({ backend, source: await smallCheckpoint() });
});
afterAll(() => {
  model.dispose();
  expect(backend.memory().live).toBe(0);
});

describe('sampling', () => {
  const options: GenerateOptions = { doSample: true, temperature: 2, topK: 0, maxNewTokens: 8 };

  test('gives the same text for the same seed, and others for others', async () => {
    const ids = async (seed: number): Promise<string> =>
      (await keepsNothing(backend, () => model.generate(source, { ...options, seed }))).ids.join();
    const seeds = [1, 2, 3, 4];
    const first: string[] = [];
    for (const seed of seeds) first.push(await ids(seed));
    for (const [at, seed] of seeds.entries()) expect(await ids(seed)).toBe(first[at]);
    expect(new Set(first).size).toBeGreaterThan(2);
  });

  test('draws several sequences of each source, which differ', async () => {
    const sources = [source, [70, 71, 72, 73, 1]];
    const results = await keepsNothing(backend, () =>
      model.generateBatch(sources, { ...options, seed: 5, numReturnSequences: 3 }),
    );
    expect(results.map(({ sourceLength }) => sourceLength)).toEqual([3, 3, 3, 5, 5, 5]);
    expect(new Set(results.map(({ ids }) => ids.join())).size).toBeGreaterThan(4);
    // A row of one source draws what it draws alone.
    const alone = await model.generate(source, { ...options, seed: 5 });
    expect(results[0]?.ids).toEqual(alone.ids);
  });

  test('streams, and tells logits as the model gave them', async () => {
    const tokens: GeneratedToken[] = [];
    const result = await model.generate(source, {
      ...options,
      seed: 6,
      onToken: (token) => tokens.push(token),
    });
    expect(tokens.map(({ id }) => id)).toEqual(result.ids);
    const forced = model.logits([source], [[0, ...result.ids.slice(0, -1)]]);
    const values = await forced.data();
    forced.dispose();
    for (const [step, id] of result.ids.entries())
      expect(result.logits[step]).toBeCloseTo(values[step * model.config.vocabSize + id] as number, 4);
  });

  test('of the best token alone is greedy decoding', async () => {
    const greedy = await model.generate(source);
    for (const narrow of [{ topK: 1 }, { topK: 0, topP: 0 }, { topK: 0, minP: 1 }, { temperature: 1e-4 }])
      expect((await model.generate(source, { doSample: true, ...narrow })).ids).toEqual(greedy.ids);
  });
});

describe('beams', () => {
  test('of a batch are those of each source alone', async () => {
    const options: GenerateOptions = { numBeams: 3, numReturnSequences: 2, maxNewTokens: 6 };
    const sources = [source, [70, 71, 72, 73, 1], [5]];
    const together = await keepsNothing(backend, () => model.generateBatch(sources, options));
    expect(together).toHaveLength(6);
    for (const [at, own] of sources.entries()) {
      const alone = await model.generateBatch([own], options);
      expect(together.slice(2 * at, 2 * at + 2).map(({ ids }) => ids)).toEqual(alone.map(({ ids }) => ids));
      expect(alone[0]?.score).toBeGreaterThanOrEqual(alone[1]?.score as number);
    }
  });

  test('score no less than the greedy sequence', async () => {
    // Of the most tokens, and no end: all sequences have one length, and the score is comparable.
    const options = { maxNewTokens: 5, minNewTokens: 5 };
    const { ids } = await model.generate(source, options);
    const forced = model.logits([source], [[0, ...ids.slice(0, -1)]]);
    const values = await forced.data();
    forced.dispose();
    const { vocabSize } = model.config;
    const logProbability = ids.reduce((sum, id, step) => {
      const row = Array.from(values.subarray(step * vocabSize, (step + 1) * vocabSize), Number);
      const norm = Math.log(row.reduce((total, logit) => total + Math.exp(logit), 0));
      return sum + (row[id] as number) - norm;
    }, 0);
    const best = await model.generate(source, { ...options, numBeams: 8 });
    expect(best.score).toBeGreaterThanOrEqual(logProbability / 5 - 1e-6);
  });

  test('are an exhaustive search where there are enough of them', async () => {
    const config = { ...tinyConfig({ vocab_size: 5 }), eosIds: [] };
    const own = createReferenceBackend();
    const small = createT5(config, tinyParameters(own, config, 3));
    const every = Array.from({ length: 125 }, (_, code) => [
      Math.floor(code / 25),
      Math.floor(code / 5) % 5,
      code % 5,
    ]);
    const forced = small.logits(
      every.map(() => [4, 2]),
      every.map((ids) => [0, ...ids.slice(0, 2)]),
    );
    const values = Array.from(await forced.data(), Number);
    forced.dispose();
    const all = every.map((ids, at) => {
      const score = ids.reduce((sum, id, step) => {
        const row = values.slice(at * 15 + step * 5, at * 15 + step * 5 + 5);
        return sum + (row[id] as number) - Math.log(row.reduce((total, x) => total + Math.exp(x), 0));
      }, 0);
      return { ids, score: score / 3 };
    });
    all.sort((a, b) => b.score - a.score);
    const found = await keepsNothing(own, () =>
      small.generateBatch([[4, 2]], { numBeams: 60, numReturnSequences: 5, maxNewTokens: 3 }),
    );
    expect(found.map(({ ids }) => ids)).toEqual(all.slice(0, 5).map(({ ids }) => ids));
    for (const [at, { score }] of found.entries()) expect(score).toBeCloseTo(all[at]?.score ?? Number.NaN, 4);
    small.dispose();
  });

  test('are the same on a backend that records their steps', async () => {
    const config = tinyConfig();
    const plain = createReferenceBackend();
    const { backend: recorder, counts } = recordingBackend(createReferenceBackend());
    const [called, recorded] = [plain, recorder].map((own) => createT5(config, tinyParameters(own, config)));
    const sources = [
      [5, 3, 9, 2, 1],
      [7, 1],
    ];
    for (const options of [
      { numBeams: 3, maxNewTokens: 9, numReturnSequences: 3, minNewTokens: 8 },
      { doSample: true, seed: 3, maxNewTokens: 9, minNewTokens: 8, numReturnSequences: 2 },
    ]) {
      const before = counts.replays;
      const expected = await called?.generateBatch(sources, options);
      const got = await keepsNothing(recorder, () => (recorded as T5).generateBatch(sources, options));
      expect(got.map(({ ids }) => ids)).toEqual(expected?.map(({ ids }) => ids));
      expect(counts.replays - before).toBe(9 - 2);
    }
    called?.dispose();
    recorded?.dispose();
  });

  test('cannot be streamed, nor told token by token', async () => {
    const stream = model.stream(source, { numBeams: 2 });
    expect((await errorOf(stream.next())).code).toBe('INVALID_OPTION');
    const told = errorOf(model.generate(source, { numBeams: 2, onToken: () => {} }));
    expect((await told).code).toBe('INVALID_OPTION');
  });

  test('stop for a signal, and free everything', async () => {
    for (const options of [{ numBeams: 3 }, { doSample: true }]) {
      const controller = new AbortController();
      const seen: string[] = [];
      const error = await keepsNothing(backend, () =>
        errorOf(
          model.generate(source, {
            ...options,
            signal: controller.signal,
            onProgress: ({ stage, done }) => {
              seen.push(`${stage} ${done}`);
              if (stage === 'generate' && done === 2) controller.abort();
            },
          }),
        ),
      );
      expect(error.code).toBe('ABORTED');
      expect(seen.at(-1)).toBe('generate 2');
    }
  });
});

describe('ends of a text', () => {
  test('a stop string ends it, and is no part of it', async () => {
    const { text, ids } = await model.generate('w7 w50 w31 w99', { maxNewTokens: 8 });
    const words = text.split(' ');
    const third = words.findIndex((word, at) => at > 0 && words.indexOf(word) === at);
    expect(third).toBeGreaterThan(0);
    const stopStrings = [` ${words[third]}`, 'never'];
    for (const options of [
      {},
      { repetitionPenalty: 1.0000001 },
      { doSample: true, topK: 1 },
      { numBeams: 2 },
    ]) {
      const stopped = await keepsNothing(backend, () =>
        model.generate('w7 w50 w31 w99', { ...options, maxNewTokens: 8, stopStrings }),
      );
      if ('numBeams' in options) {
        expect(stopped.text).not.toContain(stopStrings[0]);
        continue;
      }
      expect(stopped.finishReason).toBe('stop');
      expect(stopped.text).toBe(words.slice(0, third).join(' '));
      expect(stopped.ids).toEqual(ids.slice(0, stopped.ids.length));
    }
  });

  test('a beam that ends with a stop string says so', async () => {
    const { text } = await model.generate('w5 w6 w7', { numBeams: 2, maxNewTokens: 6 });
    const [first] = text.split(' ') as [string];
    const stopped = await model.generate('w5 w6 w7', { numBeams: 2, maxNewTokens: 6, stopStrings: first });
    expect(stopped.finishReason).toBe('stop');
    expect(stopped.text).not.toContain(first);
  });

  test('maxLength counts the start token, and must leave room', async () => {
    const endless = { eosTokenId: 127 };
    expect((await model.generate(source, { ...endless, maxLength: 5 })).ids).toHaveLength(4);
    for (const options of [{}, { doSample: true }, { numBeams: 2 }]) {
      const error = await keepsNothing(backend, () =>
        errorOf(model.generate(source, { ...options, maxLength: 1 })),
      );
      expect(error.code).toBe('INVALID_OPTION');
      expect(error.message).toContain('maxLength');
    }
  });

  test('rules that leave no token are an error', async () => {
    const config = tinyConfig();
    const own = createReferenceBackend();
    const small = createT5(config, tinyParameters(own, config));
    const rules = { noRepeatNgramSize: 1, eosTokenId: [], maxNewTokens: 20 };
    for (const options of [{}, { doSample: true }, { numBeams: 2 }]) {
      const error = await keepsNothing(own, () =>
        errorOf(small.generate([5, 3, 1], { ...options, ...rules })),
      );
      expect(error.code).toBe('INVALID_OPTION');
      expect(error.message).toContain('no token is left');
    }
    small.dispose();
  });
});

describe('settings of the checkpoint', () => {
  const loaded = async (content: object, options: object = {}): Promise<T5> => {
    const files: MemorySource = await smallCheckpoint();
    files.files['generation_config.json'] = JSON.stringify(content);
    return loadT5({ backend, source: files, ...options });
  };

  test('hold where a call says nothing, and the load can replace them', async () => {
    const content = { max_new_tokens: 3, eos_token_id: 127, num_beams: 2 };
    const own = await loaded(content);
    expect(own.generationConfig).toEqual({ maxNewTokens: 3, numBeams: 2 });
    const result = await own.generate(source);
    expect(result.ids).toHaveLength(3);
    expect(result.score).toBeDefined();
    expect(await own.generate(source, { numBeams: 1, maxNewTokens: 4 })).not.toHaveProperty('score');
    own.dispose();
    const other = await loaded(content, { generationConfig: { maxNewTokens: 2 } });
    expect(await other.generate(source)).toMatchObject({ ids: { length: 2 } });
    other.dispose();
  });

  test('that are not supported are refused by name, unless the load replaces them', async () => {
    const own = await loaded({ penalty_alpha: 0.6 });
    const error = await errorOf(own.generate(source));
    expect(error.code).toBe('INVALID_OPTION');
    expect(error.message).toContain('penalty_alpha');
    // Everything else works.
    own.encode([source]).dispose();
    own.dispose();
    const other = await loaded({ penalty_alpha: 0.6 }, { generationConfig: {} });
    expect((await other.generate(source, { maxNewTokens: 1 })).ids).toHaveLength(1);
    other.dispose();
  });

  test("are createT5's as well", async () => {
    const config = tinyConfig();
    const own = createReferenceBackend();
    const made = createT5(config, tinyParameters(own, config), {
      generationConfig: { maxNewTokens: 2, eosTokenId: [] },
    });
    expect((await made.generate([5, 3, 1])).ids).toHaveLength(2);
    made.dispose();
  });
});
