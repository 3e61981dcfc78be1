import {
  exactAttention,
  mul,
  reshape,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  where,
} from '@topk-attention/core';
import { expect, test } from 'vitest';
import { graphAttention } from '../src/graph.js';
import { entmax15 } from '../src/index.js';
import { backend, goldenCall } from './support/goldens.js';
import { expectClose, expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

const { query, key, value } = goldenCall();

/** Lists of a rule for all queries of both heads. */
const graphOf = (slots: number, list: (query: number) => readonly number[]): Tensor => {
  const rows = Array.from({ length: 14 }, (_, row) => {
    const own = list(row % 7);
    return Array.from({ length: slots }, (_, slot) => own[slot] ?? -1);
  });
  return tensor(backend, Int32Array.from(rows.flat()), [1, 2, 7, slots]);
};

test('over all keys it is exact attention', async () => {
  const graph = graphOf(7, () => [0, 1, 2, 3, 4, 5, 6]);
  await expectClose(graphAttention(query, key, value, graph), exactAttention(query, key, value));
});

test('over earlier keys it is causal attention', async () => {
  const graph = graphOf(9, (i) => Array.from({ length: i + 1 }, (_, j) => i - j));
  await expectClose(
    graphAttention(query, key, value, graph),
    exactAttention(query, key, value, { causal: true }),
  );
});

test('an empty list gives zeros, and every other key by its mask', async () => {
  const graph = graphOf(4, (i) => (i === 3 ? [] : [0, 2, 4, 6]));
  const mask = where(
    reshape(tensor(backend, [true, true, true, false, true, true, true]), [1, 1, 7, 1]),
    tensor(backend, Uint8Array.of(1, 0, 1, 0, 1, 0, 1), [1, 1, 1, 7], 'bool'),
    tensor(backend, new Uint8Array(7), [1, 1, 1, 7], 'bool'),
  );
  await expectClose(graphAttention(query, key, value, graph), exactAttention(query, key, value, { mask }));
});

test('its gradients are those of finite differences, with biases and by entmax', async () => {
  const graph = graphOf(3, (i) => [i, (i + 2) % 7, (i + 5) % 7].slice(0, 1 + (i % 3)));
  const weights = randomTensor(backend, 1, 1, 2, 7, 4);
  const parameters = { query, key, value, bias: randomTensor(backend, 2, 1, 2, 7, 3) };
  for (const weigh of [undefined, entmax15]) {
    const loss = (of: { readonly [name: string]: Tensor }): Tensor =>
      sum(
        mul(
          graphAttention(of.query as Tensor, of.key as Tensor, of.value as Tensor, graph, {
            bias: of.bias as Tensor,
            ...(weigh && { weigh }),
          }),
          weights,
        ),
      );
    const { gradients } = valueAndGrad(loss)(parameters);
    for (const name of Object.keys(parameters)) await expectSlope(loss, parameters, gradients, name);
  }
});

test('a graph of another shape is refused', () => {
  const graph = tensor(backend, new Int32Array(14), [1, 2, 7, 1]);
  expect(() => graphAttention(query, key, value, reshape(graph, [1, 7, 2, 1]))).toThrow(
    expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
  );
});
