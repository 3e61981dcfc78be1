import { expect, test } from 'vitest';
import { evenCut } from '../../src/model/parts.js';
import { loaderInParts } from '../../src/training/loader.js';

/** Ten rows: an epoch has two batches of four, and leaves two rows out. */
const loader = (part: number) =>
  loaderInParts(10, { batch: 4, parts: 4 / part, seed: 3 }, evenCut(part, 8), ({ indices }) => [...indices]);

async function taken(part: number, count: number, from?: { epoch: number; batch: number }) {
  const batches = loader(part).batches(from);
  const all = [];
  for (let at = 0; at < count; at++) all.push((await batches.next()).value);
  return all;
}

test.each([1, 2])('parts of %i hold the rows of the whole batches, over epochs', async (part) => {
  const whole = (await taken(4, 5)).flatMap(({ batch }) => batch);
  expect((await taken(part, 20 / part)).flatMap(({ batch }) => batch)).toEqual(whole);
  expect(new Set(whole.slice(0, 8)).size).toBe(8);
  expect(loader(part).order(1).flat()).toEqual(whole.slice(8, 16));
  expect(loader(part).batchesPerEpoch).toBe(8 / part);
});

test('a part has at most so many rows, and no row is lost', () => {
  expect(evenCut(3, 8)([0, 1, 2, 3, 4])).toEqual([
    { indices: [0, 1, 2], tokens: 8 },
    { indices: [3, 4], tokens: 8 },
  ]);
  expect(evenCut(8, 8)([5, 6])).toEqual([{ indices: [5, 6], tokens: 8 }]);
});

test('it goes on after any part', async () => {
  const all = await taken(2, 10);
  for (const [at, { state, size }] of all.slice(0, 8).entries()) {
    expect(size).toBe(2);
    const rest = (await taken(2, 9 - at, state)).map(({ batch }) => batch);
    expect(rest).toEqual(all.slice(at + 1).map(({ batch }) => batch));
  }
});
