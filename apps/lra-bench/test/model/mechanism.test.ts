import { tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { Sparsefinder } from '@topk-attention/mechanisms';
import { contextOf } from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { mechanismOf } from '../../src/model/mechanism.js';
import { quickMechanisms } from '../../src/presets/quick.js';

const backend = createReferenceBackend();

/** Keys of each of 40 queries, by projections of some seed. */
async function graphOf(k: number, seed: number): Promise<number[][]> {
  const waves = (count: number, step: number): Float64Array =>
    Float64Array.from({ length: count }, (_, at) => Math.sin(step * at * at));
  const of = (step: number) => tensor(backend, waves(40 * 4, step), [1, 1, 40, 4]);
  const projection = tensor(backend, waves(4 * 4, seed), [1, 4, 4]);
  const call = { query: of(1.3), key: of(2.1), value: of(0.7), path: '', options: {} };
  const mechanism = mechanismOf({ name: 'sparsefinder', k }) as Sparsefinder;
  const graph = mechanism.predictGraph({ ...call, context: contextOf({ projection }) });
  const keys = Array.from(await graph.data());
  const slots = keys.length / 40;
  return Array.from({ length: 40 }, (_, query) => keys.slice(query * slots, (query + 1) * slots));
}

test.each([quickMechanisms.k, 16, 32])(
  'the graph of Sparsefinder %i is that of its projections',
  async (k) => {
    const [one, other] = [await graphOf(k, 0.9), await graphOf(k, 2.7)];
    // Where no side of the window is missing.
    expect(one.slice(4, 36)).not.toEqual(other.slice(4, 36));
    for (const [query, keys] of [...one.entries(), ...other.entries()]) {
      expect(keys).toContain(query);
      expect(keys).toContain(0);
    }
  },
);

test.each([1, 2, 4, 7, 128])('Sparsefinder %i can be made', (k) => {
  expect(() => mechanismOf({ name: 'sparsefinder', k })).not.toThrow();
});
