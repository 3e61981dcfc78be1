import { cast, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import {
  adafactor,
  adam,
  adamW,
  averageParameters,
  clipGradNorm,
  clipGradValue,
  clipScale,
  noDecay,
  type ParameterTree,
  sgd,
} from '../../src/index.js';

const backend = createReferenceBackend();
const gradients = (): ParameterTree => ({
  a: tensor(backend, [3, 0], [2]),
  b: tensor(backend, [[-4]].flat(), [1, 1]),
});
const read = async (tree: ParameterTree) => ({
  a: [...((await tree.a?.data()) ?? [])],
  b: [...((await tree.b?.data()) ?? [])],
});

test('gradients beyond the norm are scaled to it; the norm returned is that before', async () => {
  const { gradients: clipped, norm } = clipGradNorm(gradients(), 1);
  expect([...(await norm.data())]).toEqual([5]);
  const { a, b } = await read(clipped);
  expect(a[0]).toBeCloseTo(3 / (5 + 1e-6), 6);
  expect(b[0]).toBeCloseTo(-4 / (5 + 1e-6), 6);
});

test('gradients within the norm stay as they are', async () => {
  expect(await read(clipGradNorm(gradients(), 5.1).gradients)).toEqual({ a: [3, 0], b: [-4] });
});

test('the norm of Infinity is the largest element', async () => {
  const { gradients: clipped, norm } = clipGradNorm(gradients(), 2, { normType: Number.POSITIVE_INFINITY });
  expect([...(await norm.data())]).toEqual([4]);
  expect((await read(clipped)).b[0]).toBeCloseTo(-2, 5);
});

test.each([2, Number.POSITIVE_INFINITY])(
  'gradients of f16 stay f16, and their norm of %s does not overflow',
  async (normType) => {
    const given = { a: tensor(backend, [49152, 0]), b: tensor(backend, [-65504 + 32], [1, 1]) };
    const halves = Object.fromEntries(Object.entries(given).map(([name, g]) => [name, cast(g, 'f16')]));
    const { gradients: clipped, norm } = clipGradNorm(halves, 2 ** 14, { normType });
    expect(norm.dtype).toBe('f32');
    const wide = clipGradNorm(given, 2 ** 14, { normType });
    expect(await norm.data()).toEqual(await wide.norm.data());
    for (const [name, g] of Object.entries(clipped)) {
      expect(g.dtype).toBe('f16');
      const narrowed = cast(wide.gradients[name] as Tensor, 'f16');
      expect(await g.data()).toEqual(await narrowed.data());
    }
  },
);

test('a gradient that is NaN shows in the norm', async () => {
  const { norm } = clipGradNorm({ a: tensor(backend, [Number.NaN, 1]) }, 1);
  expect((await norm.data())[0]).toBeNaN();
});

test.each([
  adamW({ weightDecay: 0.1 }),
  adam({ weightDecay: 0.1, groups: [{ match: (name) => name === 'b', learningRate: 0.5 }] }),
  sgd({ momentum: 0.9, weightDecay: 0.1 }),
  adafactor(),
])('a step that scales gradients has the bits of one with clipped gradients: $name', async (optimizer) => {
  const parameters = { a: tensor(backend, [0.3, -2], [2]), b: tensor(backend, [1.7], [1, 1]) };
  const { gradients: clipped, norm } = clipGradNorm(gradients(), 1.3);
  const { scale, norm: same } = clipScale(gradients(), 1.3);
  expect(await same.data()).toEqual(await norm.data());
  expect((await scale.data())[0]).toBeCloseTo(1.3 / 5, 6);
  const state = optimizer.init(parameters);
  const before = optimizer.step(parameters, clipped, state);
  const inside = optimizer.step(parameters, gradients(), state, { gradientScale: scale });
  expect(await read(inside.parameters)).toEqual(await read(before.parameters));
  for (const [name, one] of Object.entries(before.state.tensors)) {
    expect(await inside.state.tensors[name]?.data(), name).toEqual(await one.data());
  }
});

test('elements are clipped one by one', async () => {
  expect(await read(clipGradValue(gradients(), 2))).toEqual({ a: [2, 0], b: [-2] });
});

test('an average begins as a copy and moves by its decay', async () => {
  const first = averageParameters(undefined, gradients());
  expect(await read(first)).toEqual({ a: [3, 0], b: [-4] });
  const moved = averageParameters(
    first,
    { a: tensor(backend, [7, 4], [2]), b: tensor(backend, [0], [1, 1]) },
    { decay: 0.75 },
  );
  expect(await read(moved)).toEqual({ a: [4, 1], b: [-3] });
});

test('biases and norms do not decay', () => {
  const { match } = noDecay();
  const names = ['bias', 'proj.bias', 'norm1.weight', 'encoder.final_layer_norm.weight', 'LayerNorm.weight'];
  names.push(
    'in_proj_bias',
    'SelfAttention.relative_attention_bias.weight',
    'h.0.ln_1.weight',
    'ln_f.weight',
  );
  expect(names.filter((name) => !match(name))).toEqual([]);
  const others = ['proj.weight', 'embed_tokens.weight', 'wpe.weight', 'ln1.weight', 'kiln_1.weight'];
  expect(others.filter((name) => match(name))).toEqual([]);
});

test.each([
  ['no gradients', () => clipGradNorm({}, 1)],
  ['a norm of 0', () => clipGradNorm(gradients(), 0)],
  ['a scale for no gradients', () => clipScale({}, 1)],
  ['a scale to a norm of 0', () => clipScale(gradients(), 0)],
  ['a norm that is none', () => clipGradNorm(gradients(), 1, { normType: 1 })],
  ['a negative limit', () => clipGradValue(gradients(), -1)],
  ['a decay above 1', () => averageParameters(undefined, gradients(), { decay: 2 })],
])('%s is refused', (_, run) => {
  expect(run).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});
