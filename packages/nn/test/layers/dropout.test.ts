import { fill } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { dropout, inference, type Run, seedsFrom } from '../../src/index.js';
import { backend } from '../support/tensors.js';

const run = (step: number): Run => ({ training: true, seeds: seedsFrom(step) });
const ones = fill(backend, 1, [4, 25, 100]);

test('outside of training, and at a rate of 0, x is returned as it is', () => {
  expect(dropout(inference, 'a', ones, 0.5)).toBe(ones);
  expect(dropout(run(0), 'a', ones, 0)).toBe(ones);
});

test.each([0.1, 0.5, 0.9])('a rate of %d drops that share and scales the rest', async (rate) => {
  const values = Array.from(await dropout(run(3), 'a', ones, rate).data(), Number);
  const kept = values.filter((value) => value !== 0);
  expect(kept.length / values.length).toBeCloseTo(1 - rate, 1);
  for (const value of kept) expect(value).toBeCloseTo(1 / (1 - rate), 5);
});

test('what is dropped depends on the seed and on the path, and on nothing else', async () => {
  const dropped = async (step: number, path: string) => [
    ...(await dropout(run(step), path, ones, 0.5).data()),
  ];
  expect(await dropped(1, 'a')).toEqual(await dropped(1, 'a'));
  expect(await dropped(1, 'a')).not.toEqual(await dropped(2, 'a'));
  expect(await dropped(1, 'a')).not.toEqual(await dropped(1, 'b'));
});

test('without seeds training is INVALID_OPTION', () => {
  const call = () => dropout({ training: true }, 'encoder.0', ones, 0.5);
  expect(call).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  expect(call).toThrow(/encoder\.0/);
});
