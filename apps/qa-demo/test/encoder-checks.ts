// What BERT, DistilBERT and RoBERTa have to do on every backend that their tests run them on: the goldens of Python.
import type { Backend } from '@topk-attention/core';
import { loadEncoder } from '@topk-attention/models';
import {
  checkEmbeddings,
  checkHeads,
  checkHiddenStates,
  type EncoderCheck,
  type EncoderGolden,
  Goldens,
  goldensFolder,
  readEncoderManifest,
} from '@topk-attention/t5-goldens';
import { expect } from 'vitest';

export const encoderGoldens: readonly EncoderGolden[] = readEncoderManifest().models;

function checkOf(backend: Backend, golden: EncoderGolden, goldens: Goldens): EncoderCheck {
  const source = `${goldensFolder}/encoders/${golden.model}`;
  return { golden, goldens, load: (task) => loadEncoder({ backend, source, task }) };
}

/** Hidden states; nothing is left on the backend. */
export async function checkEncoderStates(backend: Backend, golden: EncoderGolden): Promise<void> {
  const { live } = backend.memory();
  const goldens = await Goldens.read(`encoders/${golden.model}/goldens.safetensors`);
  await checkHiddenStates(checkOf(backend, golden, goldens));
  expect(backend.memory().live).toBe(live);
}

/** Hidden states, heads, embeddings and answers; nothing is left on the backend. */
export async function checkEncoderModel(backend: Backend, golden: EncoderGolden): Promise<void> {
  const { live } = backend.memory();
  const goldens = await Goldens.read(`encoders/${golden.model}/goldens.safetensors`);
  const check = checkOf(backend, golden, goldens);
  await checkHiddenStates(check);
  await checkHeads(check);
  await checkEmbeddings(check);

  const source = `${goldensFolder}/encoders/${golden.model}`;
  const model = await loadEncoder({ backend, source });
  // Several windows, in batches of different lengths.
  const asked = golden.questions[1];
  if (asked === undefined) throw new Error('no question');
  const { question, context, topK, window, stride, longest } = asked;
  const answers = await model.answer(
    { question, context },
    { topK, stride, maxTokens: window, maxAnswerTokens: longest, batchSize: 5 },
  );
  expect(answers.map(({ text }) => text)).toEqual(asked.answers.map(({ text }) => text));
  model.dispose();
  expect(backend.memory().live).toBe(live);
}
