import { createReferenceBackend } from '@topk-attention/core/reference';
import { encodeSafetensors, openSafetensors, type TensorToWrite } from '@topk-attention/nn';
import { Goldens, largestDifference } from '@topk-attention/t5-goldens';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GeneratedToken, loadT5, type T5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { smallCheckpoint } from '../support/sources.js';

const backend = createReferenceBackend();
let model: T5;
let goldens: Goldens;

beforeAll(async () => {
  model = await loadT5({ backend, source: await smallCheckpoint() });
  goldens = await Goldens.read('t5-v1_0/goldens.safetensors');
});
afterAll(() => {
  model.dispose();
  expect(backend.memory().live).toBe(0);
});

/** Fails when the call leaves bytes behind. */
async function keepsNothing<R>(body: () => Promise<R>): Promise<R> {
  const { live } = backend.memory();
  const result = await body();
  expect(backend.memory().live).toBe(live);
  return result;
}

describe('generate', () => {
  test('a padded batch gives what each source gives alone', async () => {
    const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths').slice(0, 6);
    const expected = goldens.ragged('generate.ids', 'generate.lengths').slice(0, 6);
    expect(new Set(prompts.map((prompt) => prompt.length)).size).toBeGreaterThan(3);
    const batch = await keepsNothing(() => model.generateBatch(prompts));
    for (const [row, result] of batch.entries()) {
      expect(result.ids).toEqual(expected[row]);
      expect(result.sourceLength).toBe(prompts[row]?.length);
      const alone = await model.generate(prompts[row] ?? []);
      for (const [step, logit] of alone.logits.entries()) expect(result.logits[step]).toBeCloseTo(logit, 4);
    }
  });

  test('rows that end early are not continued', async () => {
    const expected = goldens.ragged('generate.ids', 'generate.lengths');
    const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths');
    const short = expected.findIndex((ids) => ids.length < 5);
    const long = expected.findIndex((ids) => ids.length === 20);
    expect(Math.min(short, long)).toBeGreaterThanOrEqual(0);
    const results = await keepsNothing(() =>
      model.generateBatch([prompts[short] ?? [], prompts[long] ?? []]),
    );
    expect(results.map(({ ids }) => ids)).toEqual([expected[short], expected[long]]);
    expect(results[0]?.finishReason).toBe('eos');
  });

  test('the cache grows past its first capacity, with the logits of a decoder without one', async () => {
    // No golden has 40 steps: the reference is the teacher-forced decoder, itself checked against Python.
    const source = [7, 50, 31, 99, 1];
    const endless = await loadT5({ backend, source: await endingWith(127) });
    const { ids, logits, finishReason } = await keepsNothing(() =>
      endless.generate(source, { maxNewTokens: 40 }),
    );
    expect(ids).toHaveLength(40);
    expect(finishReason).toBe('length');
    const forced = endless.logits([source], [[endless.config.decoderStartId, ...ids.slice(0, -1)]]);
    const values = await forced.data();
    forced.dispose();
    const { vocabSize } = endless.config;
    for (const [step, id] of ids.entries()) {
      const row = values.subarray(step * vocabSize, (step + 1) * vocabSize);
      expect(row.indexOf(Math.max(...row)), `step ${step}`).toBe(id);
      expect(row[id]).toBeCloseTo(logits[step] ?? Number.NaN, 4);
    }
    endless.dispose();
  });

  test('text goes in and comes out, token by token', async () => {
    const tokens: GeneratedToken[] = [];
    const result = await keepsNothing(() =>
      model.generate('w5 w6 w7', { onToken: (token) => tokens.push(token), maxNewTokens: 6 }),
    );
    expect(result.sourceLength).toBe(4);
    expect(result.ids).toEqual((await model.generate([5, 6, 7, 1], { maxNewTokens: 6 })).ids);
    expect(tokens.map(({ id }) => id)).toEqual(result.ids);
    expect(tokens.map(({ text }) => text).join('')).toBe(result.text);
    const words = result.ids.filter((id) => id > 2).map((id) => `w${id}`);
    expect(result.text).toBe(words.join(' '));
    expect(words.length).toBeGreaterThan(0);
  });

  test('stream yields the tokens of generate, and returns its result', async () => {
    const stream = model.stream([9, 8, 1], { maxNewTokens: 5 });
    const ids: number[] = [];
    let step = await stream.next();
    for (; step.done !== true; step = await stream.next()) ids.push(step.value.id);
    expect(step.value).toEqual(await model.generate([9, 8, 1], { maxNewTokens: 5 }));
    expect(ids).toEqual(step.value.ids);
  });

  test('calls at the same time do not disturb each other', async () => {
    const sources = [[9, 8, 1], [70, 71, 72, 73, 1], [5]];
    const options = { maxNewTokens: 6 };
    const alone: unknown[] = [];
    for (const source of sources) alone.push(await model.generate(source, options));
    const together = await keepsNothing(() =>
      Promise.all(sources.map((source) => model.generate(source, options))),
    );
    expect(together).toEqual(alone);
  });

  test('leaving a stream early frees everything', async () => {
    await keepsNothing(async () => {
      for await (const token of model.stream([9, 8, 1])) {
        expect(token.row).toBe(0);
        break;
      }
    });
  });

  test('progress tells the layers of the encoder and the tokens', async () => {
    const seen: string[] = [];
    await model.generate([9, 8, 1], {
      maxNewTokens: 2,
      onProgress: ({ stage, done, total }) => seen.push(`${stage} ${done}/${total}`),
    });
    expect(seen).toEqual(['encode 1/2', 'encode 2/2', 'generate 1/2', 'generate 2/2']);
  });
});

describe('stopping', () => {
  test('a signal that is aborted already stops before any work', async () => {
    const error = await keepsNothing(() =>
      errorOf(model.generate([5, 1], { signal: AbortSignal.abort('no time') })),
    );
    expect(error.code).toBe('ABORTED');
    expect(error.cause).toBe('no time');
  });

  test('between layers of the encoder, and between tokens', async () => {
    for (const stage of ['encode', 'generate']) {
      const controller = new AbortController();
      const error = await keepsNothing(() =>
        errorOf(
          model.generate([5, 6, 7, 1], {
            signal: controller.signal,
            onProgress: (progress) => {
              if (progress.stage === stage) controller.abort();
            },
          }),
        ),
      );
      expect(error.code).toBe('ABORTED');
    }
  });

  test('between pieces of a long text', async () => {
    const controller = new AbortController();
    const generating = model.generate('w5 w6 '.repeat(10_000), {
      signal: controller.signal,
      onProgress: ({ stage }) => {
        expect(stage).toBe('tokenize');
        controller.abort();
      },
    });
    expect((await keepsNothing(() => errorOf(generating))).code).toBe('ABORTED');
  });

  test('disposing of the model in the middle is DISPOSED, and frees everything', async () => {
    for (const stage of ['encode', 'generate']) {
      const own = createReferenceBackend();
      const doomed = await loadT5({ backend: own, source: await smallCheckpoint() });
      const error = await errorOf(
        doomed.generateBatch([[5, 6, 7, 1], [9]], {
          onProgress: (progress) => {
            if (progress.stage === stage) doomed.dispose();
          },
        }),
      );
      expect(error.code).toBe('DISPOSED');
      expect(error.message).toContain('model');
      expect(own.memory().live).toBe(0);
    }
    const own = createReferenceBackend();
    const doomed = await loadT5({ backend: own, source: await smallCheckpoint() });
    const stream = doomed.stream([9, 8, 1]);
    await stream.next();
    doomed.dispose();
    expect((await errorOf(stream.next())).code).toBe('DISPOSED');
    expect(own.memory().live).toBe(0);
  });

  test('disposing of the backend in the middle is DISPOSED', async () => {
    for (const stage of ['encode', 'generate']) {
      const own = createReferenceBackend();
      const doomed = await loadT5({ backend: own, source: await smallCheckpoint() });
      const generating = doomed.generate([5, 6, 7, 1], {
        onProgress: (progress) => {
          if (progress.stage === stage) void own.dispose?.();
        },
      });
      expect((await errorOf(generating)).code).toBe('DISPOSED');
      doomed.dispose();
    }
  });

  test('each of several ends of a sequence ends it', async () => {
    const source = [7, 50, 31, 99, 1];
    const endless = await loadT5({ backend, source: await endingWith([127]) });
    const { ids } = await endless.generate(source, { maxNewTokens: 12 });
    endless.dispose();
    expect(ids).toHaveLength(12);
    const third = ids[2] as number;
    for (const ends of [third, [third], [127, third], [third, 127], [126, 127, third]]) {
      const short = await loadT5({ backend, source: await endingWith(ends) });
      const result = await short.generate(source, { maxNewTokens: 12 });
      expect(result.ids).toEqual(ids.slice(0, ids.indexOf(third) + 1));
      expect(result.finishReason).toBe('eos');
      short.dispose();
    }
  });

  test('a timer can fire while an eager backend is busy', async () => {
    const long = Array.from({ length: 400 }, (_, index) => 3 + (index % 120));
    const error = await keepsNothing(() =>
      errorOf(
        model.generateBatch([long, long, long, long], { signal: AbortSignal.timeout(30), maxNewTokens: 500 }),
      ),
    );
    expect(error.code).toBe('ABORTED');
  });

  test('an error in a callback frees everything', async () => {
    await keepsNothing(async () => {
      const failing = model.generate([5, 1], {
        onToken: () => {
          throw new Error('mine');
        },
      });
      await expect(failing).rejects.toThrow('mine');
    });
  });
});

describe('bad input', () => {
  test.each([
    ['no tokens', [], 'EMPTY_SEQUENCE'],
    ['an id above the vocabulary', [5, 128], 'INVALID_OPTION'],
    ['a negative id', [-1], 'INVALID_OPTION'],
    ['half an id', [1.5], 'INVALID_OPTION'],
    ['an id beyond 32 bits', [2 ** 32 + 5, 1], 'INVALID_OPTION'],
    ['a bigint', [5n, 1n], 'INVALID_OPTION'],
    ['text for an id', ['5', 1], 'INVALID_OPTION'],
    ['NaN', [Number.NaN, 1], 'INVALID_OPTION'],
    ['no id', [5, undefined, 1], 'INVALID_OPTION'],
    // biome-ignore lint/suspicious/noSparseArray: the hole is the point
    ['a hole', [5, , 1], 'INVALID_OPTION'],
    ['bigints of an array of them', BigInt64Array.of(5n), 'INVALID_OPTION'],
    ['a number', 5, 'INVALID_OPTION'],
    ['nothing', undefined, 'INVALID_OPTION'],
    ['an object', {}, 'INVALID_OPTION'],
  ] as [string, unknown, string][])('%s: %s', async (_, wrong, code) => {
    const ids = wrong as number[];
    expect((await errorOf(model.generate(ids))).code).toBe(code);
    expect((await errorOf(model.generateBatch([[5, 1], ids]))).code).toBe(code);
    expect(() => model.encode([ids])).toThrow(expect.objectContaining({ code }));
    expect(() => model.logits([[5, 1]], [ids])).toThrow(expect.objectContaining({ code }));
  });

  test('what is no batch', async () => {
    const invalid = expect.objectContaining({ code: 'INVALID_OPTION' });
    for (const wrong of ['w5', undefined, 5, {}] as unknown[] as string[][]) {
      expect((await errorOf(model.generateBatch(wrong))).code).toBe('INVALID_OPTION');
      expect(() => model.encode(wrong as unknown as number[][])).toThrow(invalid);
    }
    for (const sourceLength of [0, 1.5, Number.NaN, undefined] as number[]) {
      expect(() => model.explain({ sourceLength })).toThrow(invalid);
    }
    expect(() => model.explain({ sourceLength: 4, batch: 0 })).toThrow(invalid);
  });

  test('ids may come in a typed array', async () => {
    const ids = Int32Array.of(5, 6, 1) as unknown as number[];
    expect(await model.generate(ids)).toEqual(await model.generate([5, 6, 1]));
  });

  test('options that make no sense', async () => {
    expect((await errorOf(model.generate([1], { maxNewTokens: 0 }))).code).toBe('INVALID_OPTION');
    expect((await errorOf(model.generate([1], { attention: { k: -1 } }))).code).toBe('INVALID_K');
    expect((await errorOf(model.generateBatch([]))).code).toBe('EMPTY_SEQUENCE');
    const shape = expect.objectContaining({ code: 'SHAPE_MISMATCH' });
    expect(() => model.encode([[1, 2], [3]])).toThrow(shape);
    expect(() => model.encode([[1, 2]], { sourceLengths: [3] })).toThrow(shape);
    expect(() => model.logits([[1]], [[0], [0]])).toThrow(shape);
  });

  test('text without a tokenizer', async () => {
    const bare = await loadT5({ backend, source: await smallCheckpoint(), tokenizer: false });
    expect(bare.tokenizer).toBeUndefined();
    expect((await errorOf(bare.generate('w5'))).code).toBe('INVALID_OPTION');
    expect((await bare.generate([5, 1], { maxNewTokens: 2 })).text).toBe('');
    bare.dispose();
    expect((await errorOf(bare.generate([5, 1]))).code).toBe('DISPOSED');
  });

  test('weights that make NaN give an error and no token', async () => {
    const source = await smallCheckpoint();
    const bytes = (source.files['model.safetensors'] as Uint8Array).slice();
    bytes.fill(0xff, bytes.length - 4);
    source.files['model.safetensors'] = bytes;
    const broken = await loadT5({ backend, source });
    // The last bytes are those of the last id's embedding.
    expect((await errorOf(broken.generate([127, 5, 1]))).code).toBe('NAN_FOUND');
    broken.dispose();
  });

  test('one logit that is NaN is an error, wherever it stands', async () => {
    for (const id of [3, 64, 127]) {
      const source = await smallCheckpoint('t5-v1_1');
      const reader = await openSafetensors(source.files['model.safetensors'] as Uint8Array);
      const tensors: { [name: string]: TensorToWrite } = {};
      for (const [name, { dtype, shape }] of reader.tensors) {
        const data = await reader.read(name);
        // A row of the head makes the logit of one token, and touches no other.
        if (name === 'lm_head.weight') data[(id * data.length) / (shape[0] as number)] = Number.NaN;
        tensors[name] = { dtype, shape, data };
      }
      source.files['model.safetensors'] = encodeSafetensors(tensors);
      const broken = await loadT5({ backend, source });
      const error = await keepsNothing(() => errorOf(broken.generate([5, 6, 1])));
      expect(error.code).toBe('NAN_FOUND');
      expect(error.message).toContain('row 0');
      broken.dispose();
    }
  });
});

describe('exact and top-k', () => {
  const source = [[12, 90, 33, 71, 8, 64, 5, 17, 101, 44, 1]];
  const target = [[0, 5, 9, 13]];
  const difference = async (a: object, b: object): Promise<number> => {
    const expected = model.logits(source, target, b);
    const values = Array.from(await expected.data(), Number);
    expected.dispose();
    return largestDifference(model.logits(source, target, a), values);
  };

  test('k of all keys and units is exact', async () => {
    expect(await difference({ attention: { k: 999 }, feedForward: { k: 96 } }, {})).toBeLessThan(1e-5);
  });

  test('k one below the number of keys leaves one out', async () => {
    const keys = (source[0] as number[]).length;
    expect(await difference({ encoder: { attention: { k: keys - 1 } } }, {})).toBeGreaterThan(1e-7);
    expect(await difference({ crossAttention: { k: keys - 1 } }, {})).toBeGreaterThan(1e-7);
    expect(await difference({ crossAttention: { k: keys } }, {})).toBe(0);
    const plan = (k: number) => model.explain({ sourceLength: keys, attention: { k } })[0]?.explanation.plan;
    expect(plan(keys - 1)).not.toEqual(plan(keys));
  });

  test('each choice changes the result, and only its own layers', async () => {
    const topK = { k: 2 };
    for (const choices of [
      { attention: topK },
      { feedForward: topK },
      { crossAttention: topK },
      { encoder: { attention: topK } },
      { decoder: { attention: topK } },
      { decoder: { crossAttention: topK } },
      { layers: { 'encoder.1': { feedForward: topK } } },
      { layers: { 'decoder.0': { crossAttention: topK } } },
    ]) {
      expect(await difference(choices, {}), JSON.stringify(choices)).toBeGreaterThan(1e-4);
    }
    const byStack = { encoder: { attention: topK }, decoder: { attention: topK } };
    expect(await difference(byStack, { attention: topK })).toBe(0);
    const byLayer = { 'encoder.0': { attention: topK }, 'encoder.1': { attention: topK } };
    expect(await difference({ layers: byLayer }, { encoder: { attention: topK } })).toBe(0);
  });

  test('a choice at load holds for every call that makes none of its own', async () => {
    const choices = { attention: { k: 3 }, feedForward: { k: 10, select: 'contribution' } } as const;
    const topK = await loadT5({ backend, source: await smallCheckpoint(), ...choices });
    const own = model.logits(source, target, choices);
    const expected = Array.from(await own.data(), Number);
    own.dispose();
    expect(await largestDifference(topK.logits(source, target), expected)).toBe(0);
    const exact = topK.logits(source, target, { attention: 'exact', feedForward: 'exact' });
    const values = Array.from(await exact.data(), Number);
    exact.dispose();
    expect(await largestDifference(model.logits(source, target), values)).toBe(0);
    topK.dispose();
  });

  test('decoding with a cache selects as the teacher-forced decoder does', async () => {
    const choices = { attention: { k: 2 }, feedForward: { k: 12 } };
    const prompt = source[0] as number[];
    const { ids, logits } = await keepsNothing(() => model.generate(prompt, { ...choices, maxNewTokens: 8 }));
    const forced = model.logits([prompt], [[0, ...ids.slice(0, -1)]], choices);
    const values = await forced.data();
    forced.dispose();
    for (const [step, id] of ids.entries()) {
      expect(values[step * model.config.vocabSize + id]).toBeCloseTo(logits[step] ?? Number.NaN, 4);
    }
  });

  test('explain names every layer, its path and its bytes', async () => {
    const layers = model.explain({ sourceLength: 64, attention: { k: 4 } });
    expect(layers.map(({ name }) => name)).toEqual([
      'encoder.0 attention',
      'encoder.0 feedForward',
      'encoder.1 attention',
      'encoder.1 feedForward',
      'decoder.0 crossAttention',
      'decoder.1 crossAttention',
    ]);
    for (const { explanation } of layers) {
      expect(explanation.backend).toBe('reference');
      expect(explanation.plan.bytes.total).toBeGreaterThan(0);
      expect(String(explanation)).toContain('chunk');
    }
  });
});

/** The small checkpoint with other ends of a sequence; 127 never wins. */
async function endingWith(ids: number | readonly number[]): ReturnType<typeof smallCheckpoint> {
  const source = await smallCheckpoint();
  const config = JSON.parse(new TextDecoder().decode(source.files['config.json'] as Uint8Array));
  source.files['config.json'] = JSON.stringify({ ...config, eos_token_id: ids });
  return source;
}
