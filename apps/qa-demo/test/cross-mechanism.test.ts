import { tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { crossAttentionOf, crossMechanismNames, refusalOf } from '../src/engine/cross-mechanism.js';

const backend = createReferenceBackend();
const sizes = { width: 8, heads: 2, keyValueHeads: 2, headDim: 4 };
const wave = (phase: number, length: number) =>
  tensor(
    backend,
    Float32Array.from({ length: 2 * length * 4 }, (_, at) => Math.sin(phase + at)),
    [1, 2, length, 4],
  );
const [query, key, value] = [wave(1, 3), wave(2, 9), wave(3, 9)];

test('three compute or estimate softmax; the others say why they do not', () => {
  const reasons = crossMechanismNames.map((name) => [name, refusalOf({ name, size: 4 })] as const);
  const taken = reasons.filter(([, reason]) => reason === undefined).map(([name]) => name);
  expect(taken).toEqual(['exact', 'top-k', 'performer']);
  for (const [, reason] of reasons.filter(([name]) => !taken.includes(name)))
    expect(reason).toMatch(/softmax|train/);
});

test('Performer comes near exact attention with many features, and its seed decides them', async () => {
  const run = async (size: number, seed: number) => {
    const attend = crossAttentionOf({ name: 'performer', size, seed }, backend, sizes);
    return attend(query, key, value, { scale: 1 }).data();
  };
  const truth = await crossAttentionOf({ name: 'exact' }, backend, sizes)(query, key, value, {
    scale: 1,
  }).data();
  const error = (got: ArrayLike<number>): number =>
    Math.max(...Array.from(got, (number, at) => Math.abs(number - (truth[at] as number))));
  expect(error(await run(4096, 1))).toBeLessThan(0.1);
  expect(error(await run(2, 1))).toBeGreaterThan(error(await run(4096, 1)));
  expect(await run(2, 1)).toEqual(await run(2, 1));
  expect(await run(2, 1)).not.toEqual(await run(2, 2));
});

test('self-attention with relative biases is not for Performer', () => {
  const attend = crossAttentionOf({ name: 'performer', size: 4 }, backend, sizes);
  const relativeBias = {
    table: tensor(backend, new Float32Array(16), [8, 2]),
    bidirectional: true,
    maxDistance: 16,
  };
  expect(() => attend(query, key, value, { relativeBias })).toThrow(/takes no relativeBias/);
});
