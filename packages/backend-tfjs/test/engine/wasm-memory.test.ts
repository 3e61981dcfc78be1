import { add, tensor, zeros } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { createTfjsBackend } from '../../src/index.js';
import { wasmTf } from '../support/engines.js';

const tf = await wasmTf();
const backend = await createTfjsBackend({ tf });

// The engine's own answer to both is to write over what lies at the start of its memory.
describe.each([
  ['nearly all of the 4 GiB there can be', 2 ** 30 - 1024],
  ['4 GiB, which 32-bit sizes take for nothing', 2 ** 30],
])('%s', (_what, elements) => {
  test('is OUT_OF_MEMORY, and poisons what depends on it alone', async () => {
    const before = tf.memory().numTensors;
    const small = tensor(backend, [1, 2, 3]);
    const large = zeros(backend, [elements]);
    const sum = add(large, 1);
    await expect(large.data()).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
    await expect(sum.data()).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
    const doubled = add(small, small);
    expect([...(await doubled.data()), ...(await small.data())]).toEqual([2, 4, 6, 1, 2, 3]);
    for (const one of [small, large, sum, doubled]) one.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });

  test('makes an op of tf throw', () => {
    expect(() => tf.fill([elements], 1)).toThrow(/out of memory/);
  });
});
