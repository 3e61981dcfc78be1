import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { crossEntropy, reshape, type Tensor, tensor } from '@topk-attention/core';
import { loadT5, type T5, t5Forward } from '@topk-attention/models';
import { disposeParameters, type ParameterTree, seedsFrom } from '@topk-attention/nn';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { accuracy, fineTune, lossOf, toBatch, toExample } from '../src/fine-tune.js';
import { readStories } from '../src/stories.js';
import { whoIsIn } from '../src/who-is-in.js';

const folder = fileURLToPath(new URL('../../../apps/qa-demo/model', import.meta.url));
const file = `1 Mary moved to the bathroom.
2 John went to the hallway.
3 Where is Mary? \tbathroom\t1
4 Mary went back to the hallway.
5 Where is John? \thallway\t2
`;
const questions = whoIsIn(readStories(file, 'qa1.txt'), 1);

let backend: OnnxRuntimeBackend;
let model: T5;
beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ threads: 1 });
  model = await loadT5({ backend, source: folder });
});
afterAll(async () => {
  model?.dispose();
  await backend?.dispose();
});

const read = async (of: Tensor): Promise<number> => Number((await of.data())[0]);

test('padding changes no loss: that of a batch is the mean over the tokens of its answers', async () => {
  const { config, parameters } = model;
  const examples = questions.map((question) => toExample(model.tokenizer!, question));
  const [short, long] = examples;
  expect(short?.source.length).not.toBe(long?.source.length);
  const one = async (index: number): Promise<number> => {
    const { source, answer } = examples[index]!;
    const targets = [[config.decoderStartId, ...answer.slice(0, -1)]];
    const logits = t5Forward(config, parameters, { sources: [source], targets });
    const labels = tensor(backend, Int32Array.from(answer), [answer.length], 'i32');
    return read(crossEntropy(reshape(logits, [answer.length, config.vocabSize]), labels));
  };
  const batch = toBatch(config, examples);
  const together = await read(lossOf(config, parameters, batch, { feedForward: 'exact' }, seedsFrom(0)));
  const counts = examples.map(({ answer }) => answer.length);
  const expected = ((await one(0)) * counts[0]! + (await one(1)) * counts[1]!) / (counts[0]! + counts[1]!);
  expect(batch.tokens).toBe(counts[0]! + counts[1]!);
  expect(together).toBeCloseTo(expected, 4);
});

test('accuracy is the share of right answers', async () => {
  const { config, parameters, tokenizer } = model;
  const asked = { choices: { feedForward: { k: 64 } }, batchSize: 2 };
  const context = 'Mary moved to the bathroom. John went to the hallway.';
  // What the model was trained on, and a wrong answer.
  const known = [
    { question: 'Where is Mary?', context, answer: 'bathroom' },
    { question: 'Where is John?', context, answer: 'hallway' },
    { question: 'Where is John?', context, answer: 'garden' },
  ];
  expect(await accuracy(config, parameters, tokenizer!, known, asked)).toBeCloseTo(2 / 3, 12);
});

test('fine-tuning with top-k feed-forward layers lowers the loss, and leaves the loaded model as it was', async () => {
  const { config, parameters, tokenizer } = model;
  const choices = { feedForward: { k: 64 } };
  const examples = questions.map((question) => toExample(tokenizer!, question));
  const loss = (of: ParameterTree): Promise<number> =>
    read(lossOf(config, of, toBatch(config, examples), choices, seedsFrom(0)));
  const before = await loss(parameters);
  const tuned = await fineTune(config, parameters, examples, {
    ...{ choices, steps: 3, batchSize: 2, learningRate: 1e-3, seed: 1 },
  });
  try {
    expect(await loss(tuned)).toBeLessThan(0.9 * before);
    expect(await loss(parameters)).toBeCloseTo(before, 5);
  } finally {
    disposeParameters(tuned);
  }
});

test('the model that the command takes by default is there', () => {
  expect(existsSync(`${folder}/model.safetensors`)).toBe(true);
  expect(readFileSync(`${folder}/config.json`, 'utf8')).toContain('"d_ff": 768');
});
