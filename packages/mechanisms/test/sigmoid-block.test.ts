import { add, concat, mul, narrow, sum, type Tensor, valueAndGrad } from '@topk-attention/core';
import {
  attentionLayer,
  contextOf,
  feedForwardLayer,
  initialize,
  normLayer,
  type ParameterTree,
  seedsFrom,
} from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { sigmoidAttention, sigmoidBlock } from '../src/index.js';
import { backend } from './support/goldens.js';
import { differenceOf, expectClose, expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

const x = randomTensor(backend, 1, 2, 6, 8);
const sizes = { width: 8, heads: 2, hidden: 12 };
const sigmoid = { length: 6, qkNorm: true };

/** The parameters of a part, under its own names. */
const partOf = (tree: ParameterTree, part: string): ParameterTree =>
  Object.fromEntries(
    Object.entries(tree).flatMap(([name, one]) =>
      name.startsWith(`${part}.`) ? [[name.slice(part.length + 1), one]] : [],
    ),
  );

test.each([false, true])('is the recipe, by parts: hybrid norm %s', async (hybridNorm) => {
  const block = sigmoidBlock({ ...sizes, sigmoid, hybridNorm, layerScale: 0.5 });
  const parameters = initialize(backend, block, 2);
  const norm = (of: Tensor, name: string): Tensor =>
    normLayer(8).apply(contextOf(partOf(parameters, name)), of);
  const attended = attentionLayer({ width: 8, heads: 2, mechanism: sigmoidAttention(sigmoid) }).apply(
    contextOf(partOf(parameters, 'self_attn')),
    norm(x, 'norm1'),
  );
  const between = add(x, mul(hybridNorm ? norm(attended, 'hybrid_norm') : attended, 0.5));
  const made = feedForwardLayer({ width: 8, hidden: 12, activation: 'gelu' }).apply(
    contextOf(parameters),
    norm(between, 'norm2'),
  );
  await expectClose(block.apply(contextOf(parameters), x), add(between, mul(made, 0.5)), 12);
});

test('a new block is nearly the identity', async () => {
  const block = sigmoidBlock(sizes);
  const output = block.apply(contextOf(initialize(backend, block, 2)), x);
  expect(await differenceOf(output, x)).toBeLessThan(1e-3);
});

test('step by step it gives the same as at once', async () => {
  const block = sigmoidBlock({ ...sizes, sigmoid, causal: true, layerScale: 0.5, hybridNorm: true });
  const context = contextOf(initialize(backend, block, 2));
  const first = block.step(context, narrow(x, 1, 0, 4));
  const second = block.step(context, narrow(x, 1, 4, 2), first.state);
  await expectClose(concat([first.output, second.output], 1), block.apply(context, x));
});

test('its gradients are those of finite differences', async () => {
  const block = sigmoidBlock({ ...sizes, sigmoid, layerScale: 0.5, hybridNorm: true, dropout: 0.2 });
  const parameters = initialize(backend, block, 2);
  const weights = randomTensor(backend, 3, 2, 6, 8);
  const loss = (of: ParameterTree): Tensor =>
    sum(mul(block.apply(contextOf(of, { training: true, seeds: seedsFrom(1) }), x), weights));
  const { gradients } = valueAndGrad(loss)(parameters);
  for (const name of [
    'scale1',
    'scale2',
    'hybrid_norm.weight',
    'self_attn.q_proj.weight',
    'linear1.weight',
  ]) {
    await expectSlope(loss, parameters, gradients, name, 5);
  }
});

describe('wrong use', () => {
  test.each([{ layerScale: 0 }, { dropout: -1 }, { rotary: {}, sigmoid }])('%o', (wrong) => {
    expect(() => sigmoidBlock({ ...sizes, ...wrong })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });
  test('a causal block needs a length', () => {
    expect(() => sigmoidBlock({ ...sizes, causal: true })).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    );
  });
});
