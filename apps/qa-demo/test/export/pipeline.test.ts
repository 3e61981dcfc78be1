import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { env, pipeline } from '@huggingface/transformers';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { loadT5 } from '@topk-attention/models';
import { type ExportedFiles, exportOnnx, writeExported } from '@topk-attention/onnxruntime/export';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { embedded, questions } from './questions.js';
import { rewritten } from './rewritten.js';

const { list, maxNewTokens } = await questions();
/** Of different lengths, so that a batch of them has padding. */
const asked = [0, 9, 18].flatMap((at) => list[at] ?? []);
let folder: string;
let files: ExportedFiles;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'topk-pipeline-'));
  const model = await loadT5({ backend: createReferenceBackend(), source: embedded });
  files = await exportOnnx(model);
  model.dispose();
  Object.assign(env, { allowRemoteModels: false, localModelPath: folder });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test.each(['exported', 'rewritten'])(
  'a pipeline of transformers.js answers alone and in a batch: %s',
  async (name) => {
    const made = name === 'exported' ? files : rewritten(files, { feedForward: 'chunked', strict: true });
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
