import { readFileSync } from 'node:fs';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { forwardDifference, Goldens, goldensFolder } from '@topk-attention/t5-goldens';
import { describe, expect, test } from 'vitest';
import { createByteTokenizer, loadT5 } from '../../src/index.js';
import { errorOf } from '../support/errors.js';

const folder = `${goldensFolder}/t5-variants`;

interface Manifest {
  readonly models: readonly string[];
  readonly maxNewTokens: number;
  readonly byteTokenizer: {
    readonly texts: readonly { readonly text: string; readonly ids: readonly number[] }[];
    readonly decoded: readonly { readonly text: string; readonly ids: readonly number[] }[];
  };
}

const manifest: Manifest = JSON.parse(readFileSync(`${folder}/manifest.json`, 'utf8'));
const { models, maxNewTokens, byteTokenizer } = manifest;

test.each(models)('%s: logits within 1e-4 of transformers, greedy ids identical', async (name) => {
  const backend = createReferenceBackend();
  const model = await loadT5({ backend, source: `${folder}/${name}`, tokenizer: false });
  const goldens = await Goldens.read(`t5-variants/${name}/goldens.safetensors`);
  const difference = await forwardDifference(model, goldens, 'batch');
  expect(difference.encoder).toBeLessThan(1e-4);
  expect(difference.logits).toBeLessThan(1e-4);
  const prompts = goldens.ragged('generate.promptIds', 'generate.promptLengths');
  const batch = await model.generateBatch(prompts, { maxNewTokens });
  expect(batch.map(({ ids }) => ids)).toEqual(goldens.ragged('generate.ids', 'generate.lengths'));
  model.dispose();
  expect(backend.memory().live).toBe(0);
});

describe('the byte tokenizer', () => {
  const tokenizer = createByteTokenizer();

  test.each(byteTokenizer.texts)('%o has the ids of Python', async ({ text, ids }) => {
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(await tokenizer.encodeAsync(text)).toEqual(ids);
  });

  test.each(byteTokenizer.decoded)('%o is decoded as in Python', ({ ids, text }) => {
    expect(tokenizer.decode(ids)).toBe(text);
  });

  test('spaces go with the special tokens beside them, and many take no time with the square of their number', () => {
    expect(tokenizer.encode(' a <pad> <extra_id_0> <unk>  </s> b')).toEqual([35, 100, 0, 259, 2, 1, 101, 1]);
    expect(tokenizer.encode('<extra_id_0> a <extra_id_999> <pad>')).toEqual([
      ...[259, 35, 100, 35],
      ...[...new TextEncoder().encode('<extra_id_999>')].map((byte) => byte + 3),
      ...[0, 1],
    ]);
    const began = performance.now();
    expect(tokenizer.encode(`a${' '.repeat(200_000)}b`)).toHaveLength(200_003);
    // A tenth of a second; with the square, a minute.
    expect(performance.now() - began).toBeLessThan(5000);
  });

  test('is that of a ByT5 folder, which has no file of a tokenizer', async () => {
    const model = await loadT5({ backend: createReferenceBackend(), source: `${folder}/byt5` });
    const text = 'Wie heißt „café“?';
    const ids = [...new TextEncoder().encode(text)].map((byte) => byte + 3);
    const answer = await model.generate(text, { maxNewTokens: 12 });
    expect(answer.sourceLength).toBe(ids.length + 1);
    expect(answer.ids).toEqual((await model.generate([...ids, 1], { maxNewTokens: 12 })).ids);
    expect(answer.text).toBe(model.tokenizer?.decode(answer.ids));
    const error = await errorOf(loadT5({ backend: createReferenceBackend(), source: `${folder}/mt5` }));
    expect(error.code).toBe('FILE_NOT_FOUND');
  });

  test('takes another number of extra ids, and refuses what makes no sense', async () => {
    expect(createByteTokenizer({ extraIds: 1 }).encode('<extra_id_0>')).toEqual([259, 1]);
    expect(createByteTokenizer({ extraIds: 0 }).encode('<extra_id_0>')).toHaveLength(13);
    const invalid = expect.objectContaining({ code: 'INVALID_OPTION' });
    expect(() => createByteTokenizer({ extraIds: -1 })).toThrow(invalid);
    expect(() => tokenizer.encode(JSON.parse('5'))).toThrow(invalid);
    expect(() => tokenizer.decode([-1])).toThrow(invalid);
    const signal = AbortSignal.abort();
    expect((await errorOf(tokenizer.encodeAsync('a', { signal }))).code).toBe('ABORTED');
  });
});
