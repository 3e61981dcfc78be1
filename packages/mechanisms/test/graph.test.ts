import { mul, reshape, sum, type Tensor, tensor, valueAndGrad, where } from '@topk-attention/core';
import type { MechanismOptions } from '@topk-attention/nn';
import { test } from 'vitest';
import { entmaxOverGraph } from '../src/graph.js';
import { entmaxAttention } from '../src/index.js';
import { backend, goldenCall } from './support/goldens.js';
import { expectClose, expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

const golden = goldenCall();
const { key, value } = golden;

/** Lists of a rule for all queries of both heads. */
const graphOf = (slots: number, list: (query: number) => readonly number[]): Tensor => {
  const rows = Array.from({ length: 14 }, (_, row) => {
    const own = list(row % 7);
    return Array.from({ length: slots }, (_, slot) => own[slot] ?? -1);
  });
  return tensor(backend, Int32Array.from(rows.flat()), [1, 2, 7, slots]);
};

const entmax = (options: MechanismOptions = {}): Tensor =>
  entmaxAttention().attend(goldenCall({}, { scale: 2, ...options }));
const query = mul(golden.query, 2);

test('over all keys it is entmax', async () => {
  const graph = graphOf(7, () => [0, 1, 2, 3, 4, 5, 6]);
  await expectClose(entmaxOverGraph(query, key, value, graph), entmax());
});

test('over earlier keys it is causal', async () => {
  const graph = graphOf(9, (i) => Array.from({ length: i + 1 }, (_, j) => i - j));
  await expectClose(entmaxOverGraph(query, key, value, graph), entmax({ causal: true }));
});

test('an empty list gives zeros, and every other key by its mask', async () => {
  const graph = graphOf(4, (i) => (i === 3 ? [] : [0, 2, 4, 6]));
  const mask = where(
    reshape(tensor(backend, [true, true, true, false, true, true, true]), [1, 1, 7, 1]),
    tensor(backend, Uint8Array.of(1, 0, 1, 0, 1, 0, 1), [1, 1, 1, 7], 'bool'),
    tensor(backend, new Uint8Array(7), [1, 1, 1, 7], 'bool'),
  );
  await expectClose(entmaxOverGraph(query, key, value, graph), entmax({ mask }));
});

test('its gradients are those of finite differences', async () => {
  const graph = graphOf(3, (i) => [i, (i + 2) % 7, (i + 5) % 7].slice(0, 1 + (i % 3)));
  const weights = randomTensor(backend, 1, 1, 2, 7, 4);
  const parameters = { query, key, value };
  const loss = (of: { readonly [name: string]: Tensor }): Tensor =>
    sum(mul(entmaxOverGraph(of.query as Tensor, of.key as Tensor, of.value as Tensor, graph), weights));
  const { gradients } = valueAndGrad(loss)(parameters);
  for (const name of Object.keys(parameters)) await expectSlope(loss, parameters, gradients, name);
});
