import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { env, pipeline } from '@huggingface/transformers';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5, type T5 } from '@topk-attention/models';
import {
  type ExportOptions,
  exportOnnx,
  readExported,
  writeExported,
} from '@topk-attention/onnxruntime/export';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { embedded, questions } from './questions.js';
import { rewritten } from './rewritten.js';

const { list, maxNewTokens } = await questions();
/** Of different lengths, so that a batch of them has padding. */
const asked = [0, 9, 18].flatMap((at) => list[at] ?? []);
let folder: string;
let model: T5;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'topk-pipeline-'));
  model = await loadT5({ backend: createReferenceBackend(), source: embedded });
  Object.assign(env, { allowRemoteModels: false, localModelPath: folder });
});
afterAll(async () => {
  model.dispose();
  await rm(folder, { recursive: true, force: true });
});

/** The pipeline reads what it needs to know from config.json. */
const forms: { readonly [name: string]: ExportOptions } = {
  exported: {},
  rewritten: {},
  half: { dtype: 'float16' },
  'external-data': { externalData: true },
  'half-external-data': { dtype: 'float16', externalData: true },
};

test.each(Object.keys(forms))(
  'a pipeline of transformers.js answers alone and in a batch: %s',
  async (name) => {
    const exported = await exportOnnx(model, forms[name]);
    const isRewritten = name === 'rewritten';
    const made = isRewritten
      ? rewritten(await readExported(exported), { feedForward: 'chunked', strict: true })
      : exported;
    await writeExported(made, join(folder, name), { checkpoint: embedded });
    const answer = await pipeline('text2text-generation', name);
    const prompts = asked.map(({ prompt }) => prompt);
    const texts = async (given: string | string[]): Promise<readonly string[]> =>
      (await answer(given, { max_new_tokens: maxNewTokens })).flatMap((one) =>
        'generated_text' in one ? [one.generated_text] : [],
      );
    const expected = asked.map((question) => question.answer);
    expect(await texts(prompts)).toEqual(expected);
    for (const [at, prompt] of prompts.entries()) expect(await texts(prompt)).toEqual([expected[at]]);
    await answer.dispose();
  },
);
