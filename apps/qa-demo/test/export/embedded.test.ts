import { createReferenceBackend } from '@topk-attention/core/reference';
import { type LayerChoices, loadT5, type T5 } from '@topk-attention/models';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { type ExportOptions, exportOnnx, readExported } from '@topk-attention/onnxruntime/export';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ExportedT5 } from './exported-t5.js';
import { embedded, type Question, questions } from './questions.js';
import { rewritten } from './rewritten.js';

const { maxNewTokens, list } = await questions();
/** Short and middling ones, and with time the longest as well. */
const asked: readonly Question[] = thoroughAvailability().available
  ? list.filter((_, at) => at % 8 === 0 || at === list.length - 1)
  : list.filter(({ ids }) => ids.length <= 300).filter((_, at) => at % 6 === 0);

/** Without the longest, which takes half the time of all: it is asked of the plain and the exactly rewritten files. */
const most = asked.filter(({ ids }) => ids.length < 2000);

type Files = Awaited<ReturnType<typeof readExported>>;

async function exported(choices: LayerChoices = {}, options?: ExportOptions): Promise<Files> {
  const model = await loadT5({ backend: createReferenceBackend(), source: embedded, ...choices });
  const files = await readExported(await exportOnnx(model, options));
  model.dispose();
  return files;
}

/** What the files answer to questions. */
async function answersOf(
  files: Files,
  these: readonly Question[] = most,
): Promise<readonly (readonly number[])[]> {
  const t5 = await ExportedT5.open(ort, files);
  const answers: (readonly number[])[] = [];
  for (const { ids } of these) answers.push(await t5.generate(ids, maxNewTokens));
  await t5.release();
  return answers;
}

describe('the embedded model as ONNX files, in onnxruntime-node', () => {
  const expectedOf = (these: readonly Question[]) => these.map(({ answerIds }) => answerIds);
  const expected = expectedOf(most);
  let files: Files;
  let backend: OnnxRuntimeBackend;
  let model: T5;

  beforeAll(async () => {
    files = await exported();
    backend = await createOnnxRuntimeBackend({ threads: 1 });
    model = await loadT5({ backend, source: embedded });
  });
  afterAll(async () => {
    model.dispose();
    await backend.dispose();
  });

  /** What this project's own T5 answers with layers of its own. */
  async function ownAnswers(choices: LayerChoices): Promise<readonly (readonly number[])[]> {
    const answers: (readonly number[])[] = [];
    for (const { ids } of most) answers.push((await model.generate(ids, { maxNewTokens, ...choices })).ids);
    return answers;
  }

  test('enough questions, some of them longer than k below', () => {
    expect(asked.length).toBeGreaterThanOrEqual(4);
    expect(asked.some(({ ids }) => ids.length > 100)).toBe(true);
  });

  test('as exported', async () => {
    expect(await answersOf(files, asked)).toEqual(expectedOf(asked));
  });

  test('rewritten exactly: no value is left that grows with the square of the length', async () => {
    const all = rewritten(files, { attention: 'exact', feedForward: 'chunked', strict: true });
    expect(await answersOf(all, asked)).toEqual(expectedOf(asked));
  });

  test('rewritten with k, and exported with k, as the model answers with k', async () => {
    const choices = { attention: { k: 16 } };
    const own = await ownAnswers(choices);
    expect(await answersOf(rewritten(files, { ...choices, strict: true }))).toEqual(own);
    expect(await answersOf(await exported(choices))).toEqual(own);
  });

  test('in half precision, as exported and rewritten, with k too', async () => {
    const half = await exported({}, { dtype: 'float16' });
    expect(await answersOf(half)).toEqual(expected);
    expect(await answersOf(rewritten(half, { feedForward: 'chunked', strict: true }))).toEqual(expected);
    const choices = { attention: { k: 16 }, feedForward: { k: 128 } };
    expect(await answersOf(await exported(choices, { dtype: 'float16' }))).toEqual(await ownAnswers(choices));
  });

  test('layers of several kinds, feed-forward layers with k too', async () => {
    const choices: LayerChoices = {
      encoder: { attention: { k: 24 }, feedForward: { k: 128 } },
      decoder: {
        attention: 'exact',
        crossAttention: { k: 8 },
        feedForward: { k: 64, select: 'contribution' },
      },
      layers: { 'encoder.1': { attention: 'exact' } },
    };
    const made = await exported(choices);
    const own = await ownAnswers(choices);
    expect(await answersOf(made)).toEqual(own);
    // What is exact can still be rewritten.
    expect(await answersOf(rewritten(made, { attention: 'exact' }))).toEqual(own);
  });
});
