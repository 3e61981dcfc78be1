import { spawnSync } from 'node:child_process';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { expect, test } from 'vitest';
import { apart, encoderTraining, torchLines } from '../src/index.js';

const sizes = {
  layers: 2,
  width: 64,
  heads: 2,
  hidden: 128,
  vocabulary: 256,
  classes: 10,
  tokens: 16,
  batch: 2,
};
const rate = 1e-3;

/** Losses of the first steps on core's oracle. */
async function lossesOf(k: number | undefined, count: number): Promise<number[]> {
  const backend = createReferenceBackend();
  const run = encoderTraining(backend, sizes, { k, rate, isRecorded: false });
  const losses: number[] = [];
  for (let index = 0; index < count; index++) {
    const loss = run.step(index);
    losses.push((await loss.data())[0] as number);
    loss.dispose();
  }
  expect(run.state().length).toBeGreaterThan(50);
  run.dispose();
  expect(backend.memory().live).toBe(0);
  return losses;
}

test('a run repeats four batches, whose losses fall', async () => {
  const losses = await lossesOf(undefined, 5);
  expect(losses[4]).toBeLessThan(losses[0] as number);
  expect(new Set(losses).size).toBe(5);
});

test('losses apart: the largest relative difference', () => {
  expect(apart([1, 2, 4], [1, 2.5, 4])).toBeCloseTo(0.2);
});

const python = process.env.TOPK_PYTHON ?? 'python3';
const hasTorch = spawnSync(python, ['-c', 'import torch, numpy']).status === 0;

optional(
  'torch has the same losses, exact and top-k',
  { need: 'torch', available: hasTorch, reason: `${python} has no torch; TOPK_PYTHON names another` },
  async () => {
    const { batch, tokens } = sizes;
    const lines = torchLines({
      ...{ model: 'small', batch, tokens: [tokens], steps: 1, losses: 4, rate },
      ...{ device: 'cpu', threads: 1, k: 5, rounding: true },
    });
    expect(lines.map(({ column }) => column)).toEqual(['f32', 'top-k 5', 'f64', 'f32 nudged']);
    const [f32, topK, f64, nudged] = lines.map(({ losses }) => losses) as [
      number[],
      number[],
      number[],
      number[],
    ];
    const exact = await lossesOf(undefined, 4);
    expect(apart(exact, f32)).toBeLessThan(1e-5);
    expect(apart(await lossesOf(5, 4), topK)).toBeLessThan(1e-5);
    expect(apart(exact, f64)).toBeLessThan(1e-5);
    // Not the same numbers again: f64 has digits that f32 has not, and other weights have other losses.
    expect(f64.map(Math.fround)).not.toEqual(f64);
    expect(nudged).not.toEqual(f32);
    expect(apart(nudged, f32)).toBeLessThan(1e-5);
  },
);
