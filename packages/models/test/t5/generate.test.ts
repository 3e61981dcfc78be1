import type { Tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { Goldens } from '@topk-attention/t5-goldens';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type GeneratedToken, loadT5, type T5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';
import { keepsNothing } from '../support/memory.js';
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

describe('generate', () => {
  test('a padded batch gives what each source gives alone', async () => {
    const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths').slice(0, 6);
    const expected = goldens.ragged('generate.ids', 'generate.lengths').slice(0, 6);
    expect(new Set(prompts.map((prompt) => prompt.length)).size).toBeGreaterThan(3);
    const batch = await keepsNothing(backend, () => model.generateBatch(prompts));
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
    const results = await keepsNothing(backend, () =>
      model.generateBatch([prompts[short] ?? [], prompts[long] ?? []]),
    );
    expect(results.map(({ ids }) => ids)).toEqual([expected[short], expected[long]]);
    expect(results[0]?.finishReason).toBe('eos');
  });

  test('the cache grows past its first capacity, with the logits of a decoder without one', async () => {
    // No golden has 40 steps: the reference is the teacher-forced decoder, itself checked against Python.
    const source = [7, 50, 31, 99, 1];
    const endless = await loadT5({ backend, source: await endingWith(127) });
    const { ids, logits, finishReason } = await keepsNothing(backend, () =>
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
    const result = await keepsNothing(backend, () =>
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
    const together = await keepsNothing(backend, () =>
      Promise.all(sources.map((source) => model.generate(source, options))),
    );
    expect(together).toEqual(alone);
  });

  test('leaving a stream early frees everything', async () => {
    await keepsNothing(backend, async () => {
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
    const error = await keepsNothing(backend, () =>
      errorOf(model.generate([5, 1], { signal: AbortSignal.abort('no time') })),
    );
    expect(error.code).toBe('ABORTED');
    expect(error.cause).toBe('no time');
  });

  test('between layers of the encoder, and between tokens', async () => {
    for (const stage of ['encode', 'generate']) {
      const controller = new AbortController();
      const error = await keepsNothing(backend, () =>
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
    expect((await keepsNothing(backend, () => errorOf(generating))).code).toBe('ABORTED');
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
    const error = await keepsNothing(backend, () =>
      errorOf(
        model.generateBatch([long, long, long, long], { signal: AbortSignal.timeout(30), maxNewTokens: 500 }),
      ),
    );
    expect(error.code).toBe('ABORTED');
  });

  test('an error in a callback frees everything', async () => {
    await keepsNothing(backend, async () => {
      const failing = model.generate([5, 1], {
        onToken: () => {
          throw new Error('mine');
        },
      });
      await expect(failing).rejects.toThrow('mine');
    });
  });

  test.each(['encoder.0', 'decoder.0', 'decoder.1'])(
    'an error in a hook frees everything: %s',
    async (at) => {
      await keepsNothing(backend, async () => {
        const onResidual = (path: string, x: Tensor): void => {
          x.dispose();
          if (path === at) throw new Error('mine');
        };
        await expect(model.generate([5, 1], { trace: { onResidual } })).rejects.toThrow('mine');
      });
    },
  );
});

/** The small checkpoint with other ends of a sequence; 127 never wins. */
async function endingWith(ids: number | readonly number[]): ReturnType<typeof smallCheckpoint> {
  const source = await smallCheckpoint();
  const config = JSON.parse(new TextDecoder().decode(source.files['config.json'] as Uint8Array));
  source.files['config.json'] = JSON.stringify({ ...config, eos_token_id: ids });
  return source;
}
