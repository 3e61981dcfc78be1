import { expect, test } from 'vitest';
import { type DataLoader, dataLoader, type LoaderState } from '../../src/index.js';

const letters = [...'abcdefghij'];
const collate = (examples: readonly string[]): string => examples.join('');

async function take<Batch>(loader: DataLoader<Batch>, count: number, from?: LoaderState) {
  const taken: Batch[] = [];
  const states: LoaderState[] = [];
  for await (const { batch, state } of loader.batches(from)) {
    taken.push(batch);
    states.push(state);
    if (taken.length === count) break;
  }
  return { taken, states };
}

test('batches in order, the last one short, epoch after epoch', async () => {
  const loader = dataLoader(letters, { batchSize: 4, collate });
  expect(loader.batchesPerEpoch).toBe(3);
  expect((await take(loader, 4)).taken).toEqual(['abcd', 'efgh', 'ij', 'abcd']);
});

test('the short batch can be left out', async () => {
  const loader = dataLoader(letters, { batchSize: 4, collate, dropLast: true });
  expect((await take(loader, 3)).taken).toEqual(['abcd', 'efgh', 'abcd']);
});

test('every epoch has each example once, in another order that the seed decides', () => {
  const loader = (seed: number) => dataLoader(letters, { batchSize: 3, collate, shuffle: true, seed });
  const [first, second] = [loader(7).order(0).flat(), loader(7).order(1).flat()];
  const all = letters.map((_, i) => i);
  expect([...first].sort((a, b) => a - b)).toEqual(all);
  expect([...second].sort((a, b) => a - b)).toEqual(all);
  expect(first).not.toEqual(second);
  expect(first).toEqual(loader(7).order(0).flat());
  expect(first).not.toEqual(loader(8).order(0).flat());
});

// Written down once: a run that is resumed by another version must see its data in the same order.
test('the order of a seed is what it was', () => {
  expect(dataLoader(letters, { batchSize: 10, collate, shuffle: true, seed: 42 }).order(3)).toEqual([
    [6, 7, 1, 4, 3, 9, 2, 5, 8, 0],
  ]);
});

test('permutations are fair: each example comes first about as often', () => {
  const loader = dataLoader([0, 1, 2, 3], { batchSize: 4, collate: (x) => x, shuffle: true, seed: 1 });
  const firsts = [0, 0, 0, 0];
  for (let epoch = 0; epoch < 4000; epoch++)
    firsts[loader.order(epoch)[0]?.[0] as number] =
      (firsts[loader.order(epoch)[0]?.[0] as number] as number) + 1;
  // Four standard deviations of a binomial of 4,000 and 1/4.
  for (const count of firsts) expect(Math.abs(count - 1000)).toBeLessThan(110);
});

test('resuming from any state gives what would have come', async () => {
  const loader = dataLoader(letters, { batchSize: 3, collate, shuffle: true, seed: 5, prefetch: 2 });
  const { taken, states } = await take(loader, 9);
  for (const [at, state] of states.entries()) {
    expect((await take(loader, 4, state)).taken.slice(0, 9 - at - 1)).toEqual(taken.slice(at + 1, at + 5));
  }
});

test('buckets put similar lengths into a batch, and lose none', () => {
  const lengths = Array.from({ length: 400 }, (_, i) => (i * 37) % 101);
  const lengthOf = (index: number): number => lengths[index] as number;
  const loader = dataLoader(lengths, { batchSize: 8, collate: (x) => x, shuffle: true, lengthOf });
  const order = loader.order(0);
  expect(order.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
  const padded = (batches: readonly (readonly number[])[]): number =>
    batches.reduce((sum, batch) => sum + Math.max(...batch.map(lengthOf)) * batch.length, 0);
  const plain = dataLoader(lengths, { batchSize: 8, collate: (x) => x, shuffle: true });
  expect(padded(order)).toBeLessThan(0.7 * padded(plain.order(0)));
  // Not from short to long.
  const means = order.map((batch) => batch.reduce((sum, index) => sum + lengthOf(index), 0));
  expect(means).not.toEqual([...means].sort((a, b) => a - b));
});

test('examples are asked for in advance, and a failure is thrown when its batch comes', async () => {
  const asked: number[] = [];
  const dataset = {
    length: 6,
    get: async (index: number) => {
      asked.push(index);
      if (index === 2) throw new Error('unreadable');
      return index;
    },
  };
  const loader = dataLoader(dataset, { batchSize: 1, collate: (x) => x, prefetch: 3 });
  const batches = loader.batches();
  expect((await batches.next()).value.batch).toEqual([0]);
  expect(asked).toEqual([0, 1, 2, 3]);
  expect((await batches.next()).value.batch).toEqual([1]);
  await expect(batches.next()).rejects.toThrow('unreadable');
});

test.each([
  ['no examples', () => dataLoader([], { batchSize: 1, collate })],
  ['fewer examples than a full batch', () => dataLoader(['a'], { batchSize: 2, collate, dropLast: true })],
  ['a batch of half an example', () => dataLoader(letters, { batchSize: 0.5, collate })],
  ['buckets in order', () => dataLoader(letters, { batchSize: 1, collate, lengthOf: () => 1 })],
  ['what is no dataset', () => dataLoader(7 as never, { batchSize: 1, collate })],
  ['no collate', () => dataLoader(letters, { batchSize: 1 } as never)],
  ['a misspelt option', () => dataLoader(letters, { batchSize: 1, collate, shufle: true } as never)],
])('%s: refused', (_, run) => {
  expect(run).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});
