import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { initialize, stateDict } from '@topk-attention/nn';
import { afterEach, expect, test } from 'vitest';
import { inUnits, meanLoss } from '../src/evaluate.js';
import { languageModel, mechanismNames } from '../src/model.js';
import { RunFolder, type TrainingOptions } from '../src/run-folder.js';
import { sample } from '../src/sample.js';
import { type TrainModelOptions, trainModel } from '../src/train-model.js';
import { windowsOf } from '../src/windows.js';

const backend = createReferenceBackend();
const sizes = { vocabulary: 5, context: 8, layers: 1, width: 8, heads: 2, k: 3, features: 8, dropout: 0.1 };
const training: TrainingOptions = {
  ...{
    steps: 12,
    batchSize: 4,
    learningRate: 0.02,
    warmupSteps: 2,
    weightDecay: 0.1,
    evalSteps: 4,
    evalWindows: 3,
  },
};
/** 1 2 3 4 1 2 ...; nothing in it is unknown. */
const counting = Int32Array.from({ length: 200 }, (_, at) => (at % 4) + 1);
const windows = { trainWindows: windowsOf(counting, 8, 1), testWindows: windowsOf(counting, 8, 8) };
const model = languageModel({ ...sizes, mechanism: 'top-k' });

const folders: string[] = [];
function newFolder(): RunFolder {
  const path = mkdtempSync(join(tmpdir(), 'language-model-'));
  folders.push(path);
  return new RunFolder(path);
}
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true });
});

for (const mechanism of mechanismNames) {
  test(`${mechanism}: it learns to count, and goes on counting`, async () => {
    const own = languageModel({ ...sizes, mechanism, dropout: 0 });
    const options = { ...windows, training: { ...training, steps: 60 }, seed: 1 };
    const parameters = await trainModel(backend, own, options);
    expect(await meanLoss(own, parameters, windows.testWindows, { batchSize: 4 })).toBeLessThan(0.3);
    const greedy = { length: 6, temperature: 0, top: 5, random: () => 0 };
    expect(await sample(own, parameters, [2, 3], greedy)).toEqual([4, 1, 2, 3, 4, 1]);
  });
}

test('a run that was stopped and resumed ends with the same bits and the same log', async () => {
  const run = async (options: Partial<TrainModelOptions>) => {
    const parameters = await trainModel(backend, model, { ...windows, training, seed: 2, ...options });
    return stateDict(parameters);
  };
  const whole = newFolder();
  const expected = await run({ folder: whole });

  const stopped = newFolder();
  const controller = new AbortController();
  const onProgress = (done: number): void => {
    if (done === 7) controller.abort();
  };
  await expect(run({ folder: stopped, signal: controller.signal, onProgress })).rejects.toThrow(
    expect.objectContaining({ code: 'ABORTED' }),
  );
  await expect(run({ folder: stopped })).rejects.toThrow(/earlier run/);
  expect(await run({ folder: stopped, resume: true })).toEqual(expected);

  const evaluations = (folder: RunFolder) =>
    folder.metrics().flatMap(({ step, eval_loss }) => (eval_loss === undefined ? [] : [{ step, eval_loss }]));
  expect(evaluations(whole).map(({ step }) => step)).toEqual([4, 8, 12]);
  expect(evaluations(stopped)).toEqual(evaluations(whole));
});

test('the seed decides the run', async () => {
  const runs = [1, 1, 2].map(async (seed) =>
    stateDict(await trainModel(backend, model, { ...windows, training: { ...training, steps: 3 }, seed })),
  );
  const [a, b, c] = await Promise.all(runs);
  expect(b).toEqual(a);
  expect(c).not.toEqual(a);
});

test('the loss of a model that knows nothing is that of guessing', async () => {
  const parameters = initialize(backend, model, 1);
  // Embeddings are small at first, and so are the logits.
  const loss = await meanLoss(model, parameters, windows.testWindows, { batchSize: 5 });
  expect(loss).toBeCloseTo(Math.log(5), 1);
  expect(inUnits('characters', Math.log(8))).toEqual({
    unit: 'bits per character',
    value: expect.closeTo(3, 12),
  });
  expect(inUnits('words', Math.log(70)).value).toBeCloseTo(70, 9);
});

test('the mean is over windows, whatever the batches', async () => {
  const parameters = initialize(backend, model, 1);
  const [a, b] = await Promise.all(
    [1, 7].map((batchSize) => meanLoss(model, parameters, windows.testWindows, { batchSize })),
  );
  expect(a).toBeCloseTo(b as number, 6);
});
