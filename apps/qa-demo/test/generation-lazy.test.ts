// What models do on an engine that compiles graphs, and on no other: sources are padded to lengths that texts share.
import { fileURLToPath } from 'node:url';
import { TopKError } from '@topk-attention/core';
import { loadT5, type T5 } from '@topk-attention/models';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { goldensFolder } from '@topk-attention/t5-goldens';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'no error',
    (error: unknown) => (error instanceof TopKError ? error.code : String(error)),
  );

describe('generation on ONNX Runtime', () => {
  let backend: OnnxRuntimeBackend;
  let model: T5;

  beforeAll(async () => {
    backend = await createOnnxRuntimeBackend({ threads: 1 });
    model = await loadT5({ backend, source: `${goldensFolder}/t5-v1_0`, tokenizer: false });
  });
  afterAll(async () => {
    model.dispose();
    expect(backend.memory().live).toBe(0);
    await backend.dispose();
  });

  const source = (length: number): number[] =>
    Array.from({ length }, (_, at) => (at === length - 1 ? 1 : 3 + ((at * 37 + length) % 120)));

  /** The first token's logit without padding: the teacher-forced decoder takes sources as they are. */
  async function unpadded(ids: readonly number[], choices: object): Promise<{ id: number; logit: number }> {
    const forced = model.logits([ids], [[model.config.decoderStartId]], choices);
    const values = Array.from(await forced.data(), Number);
    forced.dispose();
    const logit = Math.max(...values);
    return { id: values.indexOf(logit), logit };
  }

  for (const [name, choices, lengths] of [
    ['exact', {}, [1, 7, 8, 33, 130]],
    ['top-k', { attention: { k: 4 }, feedForward: { k: 12 } }, [7, 33]],
  ] as const) {
    test(`${name}: padding to shared lengths changes nothing`, async () => {
      for (const length of lengths) {
        const ids = source(length);
        const expected = await unpadded(ids, choices);
        const own = await model.generate(ids, { ...choices, maxNewTokens: 1 });
        expect(own.sourceLength, `${length} tokens`).toBe(length);
        expect(own.ids, `${length} tokens`).toEqual([expected.id]);
        expect(own.logits[0], `${length} tokens`).toBeCloseTo(expected.logit, 4);
      }
    });
  }

  test('texts of neighbouring lengths share compiled graphs', async () => {
    await model.generate(source(140), { maxNewTokens: 2 });
    const { sessionsCompiled } = backend.statistics();
    for (const length of [137, 141, 143]) await model.generate(source(length), { maxNewTokens: 2 });
    expect(backend.statistics().sessionsCompiled).toBe(sessionsCompiled);
  });

  test('disposing of the model in the middle is DISPOSED, and frees everything', async () => {
    const { live } = backend.memory();
    for (const stage of ['encode', 'generate']) {
      const doomed = await loadT5({ backend, source: `${goldensFolder}/t5-v1_0`, tokenizer: false });
      const generating = doomed.generate(source(20), {
        onProgress: (progress) => {
          if (progress.stage === stage) doomed.dispose();
        },
      });
      expect(await codeOf(generating)).toBe('DISPOSED');
      expect(backend.memory().live).toBe(live);
    }
  });
});

test('disposing of the backend in the middle ends a generation', async () => {
  for (const stage of ['encode', 'generate']) {
    const backend = await createOnnxRuntimeBackend({ threads: 1 });
    const model = await loadT5({ backend, source: `${goldensFolder}/t5-v1_0`, tokenizer: false });
    const disposals: unknown[] = [];
    const generating = model.generate([5, 6, 7, 1], {
      onProgress: (progress) => {
        if (progress.stage === stage) disposals.push(backend.dispose());
      },
    });
    expect(await codeOf(generating)).toBe('DISPOSED');
    await Promise.all(disposals);
    model.dispose();
  }
});

test('texts keep their answers whatever they are padded to', async () => {
  const backend = await createOnnxRuntimeBackend({ threads: 1 });
  const model = await loadT5({ backend, source: fileURLToPath(new URL('../model', import.meta.url)) });
  for (const filler of [0, 1]) {
    const context = `${'the weather is fine. '.repeat(filler)}mary went to the kitchen.`;
    const { text } = await model.generate(`where is mary? \\n ${context}`, { maxNewTokens: 5 });
    expect(text).toBe('kitchen');
  }
  model.dispose();
  await backend.dispose();
});
