import { summary } from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { classifier } from '../../src/model/classifier.js';
import { presetOf } from '../../src/presets/presets.js';
import type { TaskName } from '../../src/tasks/task.js';
import { scheduleOf } from '../../src/training/optimization.js';

const counted = (task: TaskName, tokens?: number): number => {
  const { model } = presetOf('small', task);
  const settings = tokens === undefined ? model : { ...model, tokens, positionRows: tokens };
  return summary(classifier(settings, { name: 'exact' })).trainable;
};

test.each<[TaskName, number | undefined, number]>([
  ['listops', undefined, 209_802],
  ['text', undefined, 370_562],
  ['retrieval', undefined, 395_138],
  ['image', undefined, 174_986],
  ['pathfinder', undefined, 173_954],
  ['text', 1024, 173_954],
])('parameters of the small %s model (%s tokens): %i', (task, tokens, count) => {
  expect(counted(task, tokens)).toBe(count);
});

test('every mechanism has the same trainable parameters', () => {
  const { model } = presetOf('small', 'listops');
  for (const mechanism of [
    { name: 'top-k', k: 128 },
    { name: 'performer', features: 256 },
    { name: 'performer-relu', features: 64 },
  ] as const)
    expect(summary(classifier(model, mechanism)).trainable).toBe(209_802);
});

test('the traps of the small configuration, and their mended versions', () => {
  const [small, clean] = [presetOf('small', 'image'), presetOf('small-clean', 'image')];
  const changes = (a: object, b: object): readonly string[] =>
    Object.keys(a).filter(
      (key) => JSON.stringify(a[key as keyof typeof a]) !== JSON.stringify(b[key as keyof typeof b]),
    );
  expect(changes(small.model, clean.model)).toEqual(['pooling', 'zeroPixel']);
  expect(changes(small.training, clean.training)).toEqual([
    'momentum',
    'evaluation',
    'lastBatch',
    'validation',
  ]);
});

test('one-cycle as PyTorch steps through it', () => {
  const { training } = presetOf('small', 'listops');
  const schedule = scheduleOf(training);
  expect(schedule(0)).toEqual({ rateFactor: 1 / 25, momentum: 0.95 });
  expect(schedule(999).rateFactor).toBeCloseTo(1, 12);
  expect(schedule(999).momentum).toBeCloseTo(0.85, 12);
  expect(schedule(4999).rateFactor).toBeCloseTo(1 / 250_000, 12);
  expect(schedule(4999).momentum).toBeCloseTo(0.95, 12);
  // Linear in between.
  expect(schedule(500).rateFactor).toBeCloseTo(1 / 25 + (24 / 25) * (500 / 999), 12);
  const clean = scheduleOf(presetOf('small-clean', 'listops').training);
  expect(clean(0)).toEqual({ rateFactor: 1 / 25 });
});

test('the original schedule of text tasks', () => {
  const { training } = presetOf('original', 'listops');
  const rate = (step: number): number => training.learningRate * (scheduleOf(training)(step).rateFactor ?? 1);
  expect(rate(999)).toBeCloseTo(0.05 / Math.sqrt(1000), 12);
  expect(rate(3999)).toBeCloseTo(0.05 / Math.sqrt(4000), 12);
});
