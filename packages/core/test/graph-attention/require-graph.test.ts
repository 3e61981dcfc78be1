import { expect, test } from 'vitest';
import { requireGraph, tensor } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const backend = createReferenceBackend();
const graphOf = (...keys: readonly number[]) => tensor(backend, Int32Array.from(keys), [1, 1, 2, 2]);

test('a graph of keys that are there, unused entries and keys listed twice', async () => {
  await requireGraph('here', graphOf(0, 2, -1, -1), 3);
  await requireGraph('here', graphOf(1, 1, 0, 0), 2);
  await requireGraph('here', tensor(backend, new Int32Array(0), [1, 1, 2, 0]), 0);
});

test.each([
  [3, '3 at element 1 of a graph of shape [1, 1, 2, 2]'],
  [-2, '-2 at element 1'],
  [2 ** 31 - 1, '2147483647'],
])('an entry of %i is an error with its place', async (key, told) => {
  await expect(requireGraph('here', graphOf(0, key, 1, 5), 3)).rejects.toMatchObject({
    code: 'INDEX_OUT_OF_RANGE',
    message: expect.stringContaining('here'),
    expected: '-1, or a key from 0 to 2',
    got: expect.stringContaining(told),
  });
});

test('a graph of numbers is no graph', async () => {
  await expect(requireGraph('here', tensor(backend, [0, 1]), 3)).rejects.toMatchObject({
    code: 'DTYPE_MISMATCH',
  });
});
