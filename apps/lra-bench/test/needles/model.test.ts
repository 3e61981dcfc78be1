import { type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { contextOf, initialize } from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { needleNetwork } from '../../src/needles/model.js';
import { idsOf, needleRow } from '../../src/needles/rows.js';
import { needleModel, needleTask } from '../../src/needles/settings.js';

const backend = createReferenceBackend();
const settings = { ...needleModel, layers: 1, width: 16, hidden: 16, buckets: 8, maxDistance: 8 };
const exact = { task: needleTask, model: settings, mechanism: { name: 'exact' } } as const;
const model = needleNetwork(exact);
const parameters = initialize(backend, model, 1);
const { ids } = needleRow(needleTask, 48, { seed: 1, split: 'test', row: 0 }, 0.2);

async function logitsOf(of: Int32Array, network = model): Promise<readonly number[]> {
  const logits = network.apply(contextOf(parameters), tensor(backend, of, [1, of.length]));
  expect(logits.shape).toEqual([needleTask.valueTokens, idsOf(needleTask)]);
  return Array.from(await logits.data());
}

const most = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((one, at) => Math.abs(one - (b[at] as number))));

test('far tokens are alike wherever they stand, near ones are not', async () => {
  const before = await logitsOf(ids);
  // The last 4 places look at 8 before them as their own: what lies further may be in any order.
  const far = ids.slice();
  far.set(ids.slice(0, 30).reverse());
  expect(most(await logitsOf(far), before)).toBeLessThan(1e-5);
  const near = ids.slice();
  [near[43], near[45]] = [ids[45] as number, ids[43] as number];
  expect(most(await logitsOf(near), before)).toBeGreaterThan(1e-3);
});

test('a place sees nothing after it: the third token of the value does not help to find the third', async () => {
  const changed = ids.slice();
  changed[47] = ((ids[47] as number) + 1) % needleTask.symbols;
  const [before, after] = [await logitsOf(ids), await logitsOf(changed)];
  const known = 3 * idsOf(needleTask);
  expect(after.slice(0, known)).toEqual(before.slice(0, known));
  expect(after.slice(known)).not.toEqual(before.slice(known));
});

test('the first biases are those of ALiBi: as far as a bucket, halved from head to head', async () => {
  const table = Array.from(await (parameters['relative_attention_bias.weight'] as Tensor).data());
  const heads = Array.from({ length: 8 }, (_, bucket) => table.slice(2 * bucket, 2 * bucket + 2));
  // Half of the buckets hold one distance each, the last one all from the largest distance on.
  expect(heads.slice(0, 4)).toEqual([
    [-0, -0],
    [-1, -0.5],
    [-2, -1],
    [-3, -1.5],
  ]);
  expect(heads.at(-1)?.[0]).toBeLessThan(-5);
});

test('top-k that keeps all keys is exact attention with the same parameters', async () => {
  const all = needleNetwork({ ...exact, mechanism: { name: 'top-k', k: 48 } });
  expect(most(await logitsOf(ids, all), await logitsOf(ids))).toBeLessThan(1e-5);
  const few = needleNetwork({ ...exact, mechanism: { name: 'top-k', k: 4 } });
  expect(most(await logitsOf(ids, few), await logitsOf(ids))).toBeGreaterThan(1e-4);
});
