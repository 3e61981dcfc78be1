import { expect, test } from 'vitest';
import * as authors from '../../src/backend-entry.js';
import * as core from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const values = (shape: core.Shape, seed: number): core.Tensor =>
  core.tensor(
    backend,
    Float64Array.from({ length: core.sizeOf(shape) }, (_, i) => Math.sin(1.7 * i + 12.9 * seed) * 1.3),
    shape,
  );

const q = values([2, 4, 5, 3], 1);
const k = values([2, 2, 7, 3], 2);
const v = values([2, 2, 7, 6], 3);
const bias = values([1, 4, 5, 7], 4);
const table = values([8, 4], 5);
const dOutput = values([2, 4, 5, 6], 6);
const others = {
  bias,
  relativeBias: { table, bidirectional: true, maxDistance: 16 },
  causal: true,
  queryChunk: 2,
};

async function same(a: core.Tensor | undefined, b: core.Tensor | undefined): Promise<void> {
  expect(a?.shape).toEqual(b?.shape);
  expect(await a?.data()).toEqual(await b?.data());
}

test.each([3, 'all'] as const)('the halves of attention give what a tape gives: k %s', async (kept) => {
  const options = { ...others, k: kept };
  const whole = core.pullback(
    (one: { q: core.Tensor; k: core.Tensor; v: core.Tensor; bias: core.Tensor; table: core.Tensor }) => {
      const given = {
        ...others,
        bias: one.bias,
        relativeBias: { ...others.relativeBias, table: one.table },
      };
      return kept === 'all'
        ? core.exactAttention(one.q, one.k, one.v, given)
        : core.topKAttention(one.q, one.k, one.v, { ...given, k: kept });
    },
    { q, k, v, bias, table },
  );
  const gradients = whole.backward(dOutput);
  const { output, ...lists } = authors.attentionForward(q, k, v, options);
  await same(output, whole.output);
  expect(lists.indices?.shape).toEqual(kept === 'all' ? undefined : [2, 4, 5, kept]);
  const made = authors.attentionBackward(q, k, v, options, lists, dOutput);
  await same(made.q, gradients.q);
  await same(made.k, gradients.k);
  await same(made.v, gradients.v);
  await same(made.bias, gradients.bias);
  await same(made.relativeTable, gradients.table);
});

test('the halves of a feed-forward layer give what a tape gives', async () => {
  const x = values([6, 3], 7);
  const weights = { wIn: values([3, 9], 8), bIn: values([9], 9), wOut: values([9, 4], 10) };
  const dY = values([6, 4], 11);
  for (const kept of [2, 9]) {
    const options = { k: kept, tokenChunk: 4 };
    const whole = core.pullback(
      (one: { x: core.Tensor; w: typeof weights }) => core.topKFeedForward(one.x, one.w, options),
      { x, w: weights },
    );
    const gradients = whole.backward(dY);
    const forward = authors.feedForwardForward(x, weights, options);
    await same(forward.output, whole.output);
    const made = authors.feedForwardBackward(x, weights, options, forward.kept, dY);
    await same(made.x, gradients.x);
    await same(made.wIn, gradients.w.wIn);
    await same(made.bIn, gradients.w.bIn);
    await same(made.wOut, gradients.w.wOut);
  }
});

test('the halves refuse what does not fit', () => {
  const lists = authors.attentionForward(q, k, v, { k: 2 });
  const codeOf = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      return error instanceof core.TopKError ? error.code : error;
    }
  };
  expect(codeOf(() => authors.attentionBackward(q, k, v, { k: 2 }, lists, q))).toBe('SHAPE_MISMATCH');
  expect(codeOf(() => authors.attentionBackward(q, k, v, { k: 2 }, {}, dOutput))).toBe('INVALID_OPTION');
  const one = { indices: lists.indices as core.Tensor };
  expect(codeOf(() => authors.attentionBackward(q, k, v, { k: 2 }, one, dOutput))).toBe('INVALID_OPTION');
  const [x, weights] = [
    core.zeros(backend, [2, 3]),
    { wIn: core.zeros(backend, [3, 4]), wOut: core.zeros(backend, [4, 3]) },
  ];
  // Without the kept units there is no gradient to take for that of the layer over all units.
  expect(codeOf(() => authors.feedForwardBackward(x, weights, { k: 2 }, undefined, x))).toBe(
    'INVALID_OPTION',
  );
  expect(codeOf(() => authors.feedForwardBackward(x, weights, { k: 4 }, undefined, x))).toHaveProperty(
    'wOut',
  );
  expect(codeOf(() => authors.attentionForward(q, k, v, { k: 0 }))).toBe('INVALID_K');
  expect(codeOf(() => core.topKAttention(q, k, v, JSON.parse('{}')))).toBe('INVALID_K');
});
