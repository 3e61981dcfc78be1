import {
  add,
  concat,
  matmul,
  mul,
  narrow,
  scope,
  sum,
  type Tensor,
  tensor,
  topKFeedForward,
  transpose,
  valueAndGrad,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  addLoss,
  attentionLayer,
  classifierHead,
  contextOf,
  decoderStack,
  defineLayer,
  disposeParameters,
  dropoutLayer,
  embeddingLayer,
  encoderLayer,
  encoderStack,
  feedForwardLayer,
  initialize,
  learnedPositions,
  linearLayer,
  loadStateDict,
  normLayer,
  type ParameterTree,
  rotary,
  seedsFrom,
  sinusoidalPositions,
  splitParameters,
  stateDict,
  tiedLayer,
  topK,
  trainableExcept,
  within,
  withLosses,
} from '../../src/index.js';
import { exactBackend as backend, sinusoids } from '../support/layer-goldens.js';
import { randomTensor } from '../support/random.js';

const x = randomTensor(backend, 1, 2, 5, 8);
const numbers = async (of: Tensor): Promise<number[]> => Array.from(await of.data(), Number);
const thrown = (code: string): unknown => expect.objectContaining({ code });
const training = (step: number) => ({ training: true, seeds: seedsFrom(step) });
const sizes = { width: 8, heads: 2, hidden: 12 };

describe('dropout', () => {
  test('is off outside of training, and drops by path and step', async () => {
    const layer = dropoutLayer(0.5);
    expect(await numbers(layer.apply(contextOf({}), x))).toEqual(await numbers(x));
    const first = await numbers(layer.apply(contextOf({}, training(1)), x));
    expect(await numbers(layer.apply(contextOf({}, training(1)), x))).toEqual(first);
    expect(await numbers(layer.apply(contextOf({}, training(2)), x))).not.toEqual(first);
    expect(await numbers(layer.apply(within(contextOf({}, training(1)), 'a'), x))).not.toEqual(first);
    expect(first.filter((one) => one === 0).length).toBeGreaterThan(20);
  });

  test('of an encoder: the same step gives the same, without seeds it is an error', async () => {
    const layer = encoderStack({ layers: 2, ...sizes, dropout: 0.4 });
    const parameters = initialize(backend, layer, 1);
    const at = (step: number) => numbers(layer.apply(contextOf(parameters, training(step)), x));
    expect(await at(1)).toEqual(await at(1));
    expect(await at(1)).not.toEqual(await at(2));
    expect(await at(1)).not.toEqual(await numbers(layer.apply(contextOf(parameters), x)));
    expect(() => layer.apply(contextOf(parameters, { training: true }), x)).toThrow(thrown('INVALID_OPTION'));
  });

  test('of hidden units leaves their mean', async () => {
    const layer = feedForwardLayer({ width: 8, hidden: 256, gated: true, dropout: 0.5 });
    const parameters = initialize(backend, layer, 1);
    const plain = await numbers(layer.apply(contextOf(parameters), x));
    const total = plain.map(() => 0);
    for (let step = 0; step < 200; step++) {
      const dropped = await numbers(layer.apply(contextOf(parameters, training(step)), x));
      for (const [at, value] of dropped.entries()) total[at] = (total[at] as number) + value / 200;
    }
    const spread = Math.max(...plain.map(Math.abs));
    for (const [at, value] of plain.entries())
      expect(Math.abs((total[at] as number) - value)).toBeLessThan(spread / 4);
  });

  test.each([0.5, 0])(
    'of hidden units shows hooks what the second product reads, and takes their activations: rate %s',
    async (rate) => {
      const layer = feedForwardLayer({
        width: 8,
        hidden: 12,
        gated: true,
        activation: 'gelu',
        dropout: rate,
      });
      const parameters = initialize(backend, layer, 1);
      const seen: { path: string; indices: Tensor; activations: Tensor }[] = [];
      const context = contextOf(parameters, {
        ...training(3),
        trace: { onFeedForward: (path, units) => void seen.push({ path, ...units }) },
      });
      const output = await numbers(layer.apply(context, x));
      expect(output).toEqual(await numbers(layer.apply(contextOf(parameters, training(3)), x)));
      expect(seen).toHaveLength(1);
      const { indices, activations } = seen[0] as (typeof seen)[number];
      expect(indices.shape).toEqual([...x.shape.slice(0, -1), 12]);
      expect((await numbers(indices)).slice(0, 12)).toEqual(Array.from({ length: 12 }, (_, unit) => unit));
      const dropped = (await numbers(activations)).filter((value) => value === 0);
      expect(dropped.length > 0).toBe(rate > 0);
      const weight = parameters['linear2.weight'] as Tensor;
      const remade = add(
        matmul(activations, weight, { transposeB: true }),
        parameters['linear2.bias'] as Tensor,
      );
      const wanted = await numbers(remade);
      for (const [at, value] of output.entries()) expect(value).toBeCloseTo(wanted[at] as number, 5);

      const units = Array.from({ length: 12 }, (_, unit) => unit);
      const silenced = contextOf(parameters, {
        ...training(3),
        trace: { overrideActivations: () => ({ units, activations: 0 }) },
      });
      const bias = await numbers(parameters['linear2.bias'] as Tensor);
      for (const [at, value] of (await numbers(layer.apply(silenced, x))).entries())
        expect(value).toBeCloseTo(bias[at % 8] as number, 5);
    },
  );

  test('of hidden units has a budget', async () => {
    const layer = feedForwardLayer({ width: 8, hidden: 512, gated: true, activation: 'gelu', dropout: 0.5 });
    const own = createReferenceBackend();
    const parameters = initialize(own, layer, 1);
    const some = tensor(own, Float32Array.from({ length: 1024 }, Math.sin), [128, 8]);
    const before = own.memory().live;
    const needed = 8 * 4 * 128 * 512;
    const loss = valueAndGrad((p: ParameterTree) =>
      sum(layer.apply(contextOf(p, { ...training(1), budgetBytes: needed }), some)),
    );
    expect(() =>
      layer.apply(contextOf(parameters, { ...training(1), budgetBytes: needed - 1 }), some),
    ).toThrow(thrown('DOES_NOT_FIT'));
    expect(own.memory().live).toBe(before);
    layer.apply(contextOf(parameters, { ...training(1), budgetBytes: needed }), some).dispose();
    expect((own.memory().peak ?? Number.POSITIVE_INFINITY) - before).toBeLessThanOrEqual(needed);
    loss(parameters).value.dispose();
  });

  test('rates are below 1, and hidden units have none with top-k', () => {
    for (const rate of [1, -0.1, Number.NaN])
      expect(() => dropoutLayer(rate)).toThrow(thrown('INVALID_OPTION'));
    expect(() => feedForwardLayer({ width: 8, hidden: 12, k: 2, dropout: 0.1 })).toThrow(
      thrown('INVALID_OPTION'),
    );
    expect(() => encoderLayer({ ...sizes, feedForward: { k: 2 } })).not.toThrow();
  });
});

test('a feed-forward layer keeps k units', async () => {
  const layer = feedForwardLayer({ width: 8, hidden: 12, k: 3, activation: 'gelu', select: 'contribution' });
  const parameters = initialize(backend, layer, 1);
  const get = (name: string): Tensor => parameters[name] as Tensor;
  const expected = topKFeedForward(
    x,
    {
      wIn: transpose(get('linear1.weight')),
      bIn: get('linear1.bias'),
      wOut: transpose(get('linear2.weight')),
      bOut: get('linear2.bias'),
    },
    { k: 3, activation: 'gelu', select: 'contribution' },
  );
  expect(await numbers(layer.apply(contextOf(parameters), x))).toEqual(await numbers(expected));
});

describe('positions', () => {
  test('sinusoids are those of PyTorch', async () => {
    const zero = mul(x, 0);
    const made = await numbers(sinusoidalPositions(8).apply(contextOf({}), zero));
    for (const [at, value] of [...sinusoids, ...sinusoids].entries()) expect(made[at]).toBeCloseTo(value, 12);
    const later = await numbers(
      sinusoidalPositions(8).apply(contextOf({}), mul(randomTensor(backend, 1, 1, 2, 8), 0), 3),
    );
    for (const [at, value] of sinusoids.slice(24).entries()) expect(later[at]).toBeCloseTo(value, 12);
  });

  test('learned ones begin at an offset and end', async () => {
    const layer = learnedPositions(6, 8);
    const parameters = initialize(backend, layer, 1);
    const table = await numbers(parameters.weight as Tensor);
    const made = await numbers(layer.apply(contextOf(parameters), mul(x, 0), 1));
    expect(made.slice(0, 40)).toEqual(table.slice(8));
    expect(() => layer.apply(contextOf(parameters), x, 2)).toThrow(thrown('SHAPE_MISMATCH'));
  });

  test('rotary of a part of a text is that part of the whole, whichever was asked for first', async () => {
    const all = randomTensor(backend, 4, 1, 2, 40, 6);
    const part = (start: number, length: number): Tensor => narrow(all, 2, start, length);
    for (const base of [10_000, 500]) {
      const early = await numbers(rotary(part(0, 3), { base }));
      const last = await numbers(rotary(part(39, 1), { base, offset: 39 }));
      const whole = rotary(all, { base });
      expect(await numbers(narrow(whole, 2, 0, 3))).toEqual(early);
      expect(await numbers(narrow(whole, 2, 39, 1))).toEqual(last);
      expect(await numbers(rotary(part(20, 5), { base, offset: 20 }))).toEqual(
        await numbers(narrow(whole, 2, 20, 5)),
      );
    }
    const far = 2 ** 22;
    const [first, second] = [0, 1].map((at) => rotary(part(at, 1), { offset: far + at }));
    expect(await numbers(rotary(part(0, 2), { offset: far }))).toEqual(
      await numbers(concat([first as Tensor, second as Tensor], 2)),
    );
  });

  test('rotary scores depend on distances alone', async () => {
    const [q, k] = [randomTensor(backend, 3, 1, 1, 1, 8), randomTensor(backend, 4, 1, 1, 1, 8)];
    const score = async (at: number, other: number): Promise<number> =>
      Number((await sum(mul(rotary(q, { offset: at }), rotary(k, { offset: other }))).data())[0]);
    expect(await score(7, 3)).toBeCloseTo(await score(104, 100), 10);
    expect(await score(7, 3)).not.toBeCloseTo(await score(7, 4), 3);
    expect(() => rotary(randomTensor(backend, 3, 1, 1, 1, 7))).toThrow(thrown('SHAPE_MISMATCH'));
  });

  test('T5 biases are one table for a stack', () => {
    const options = { layers: 2, ...sizes, attention: { scale: 1 }, relativePositions: { buckets: 8 } };
    const layers = [encoderStack(options), decoderStack(options)] as const;
    for (const layer of layers) {
      const tables = Object.keys(layer.parameters).filter((name) => name.includes('relative'));
      expect(tables).toEqual(['relative_attention_bias.weight']);
    }
    const parameters = initialize(backend, layers[0], 1);
    expect(() => layers[0].step(contextOf(parameters), x)).toThrow(thrown('UNSUPPORTED'));
    const { gradients } = valueAndGrad((of: ParameterTree) => sum(mul(layers[0].apply(contextOf(of), x), x)))(
      parameters,
    );
    expect(gradients['relative_attention_bias.weight']?.shape).toEqual([8, 2]);
  });
});

describe('tied parameters', () => {
  const parts = { embed: embeddingLayer(7, 8), head: linearLayer(8, 7, { bias: false }) };
  const model = defineLayer(parts, (context, ids: Tensor) =>
    parts.head.apply(within(context, 'head'), parts.embed.apply(within(context, 'embed'), ids)),
  );
  const tied = tiedLayer(model, { 'head.weight': 'embed.weight' });
  const outer = defineLayer({ inner: tied }, (context, ids: Tensor) =>
    tied.apply(within(context, 'inner'), ids),
  );
  const ids = tensor(backend, Int32Array.of(3, 6), [1, 2]);

  test('are one tensor with the sum of both gradients', async () => {
    expect(Object.keys(outer.parameters)).toEqual(['inner.embed.weight']);
    const parameters = initialize(backend, outer, 1);
    const table = parameters['inner.embed.weight'] as Tensor;
    const square = (of: Tensor): Tensor => sum(mul(of, of));
    const one = valueAndGrad((of: ParameterTree) => square(outer.apply(contextOf(of), ids)))(parameters);
    const two = valueAndGrad((of: ParameterTree) => square(model.apply(contextOf(of), ids)))({
      'embed.weight': table,
      'head.weight': table.alias(),
    });
    expect(await numbers(one.value)).toEqual(await numbers(two.value));
    expect(await numbers(one.gradients['inner.embed.weight'] as Tensor)).toEqual(
      await numbers(two.gradients['embed.weight'] as Tensor),
    );
  });

  test('are loaded from files with both, or with the copy alone', async () => {
    const saved = await stateDict(initialize(backend, outer, 1));
    const stored = saved['inner.embed.weight'];
    if (stored === undefined) throw new Error('no table');
    for (const dict of [{ ...saved, 'inner.head.weight': stored }, { 'inner.head.weight': stored }]) {
      expect(await stateDict(await loadStateDict(backend, outer, dict))).toEqual(saved);
    }
  });

  test('exist and have one shape', () => {
    expect(() => tiedLayer(model, { nothing: 'embed.weight' })).toThrow(thrown('INVALID_OPTION'));
    const other = defineLayer({ a: linearLayer(2, 3), b: linearLayer(3, 2) }, (_, one: Tensor) => one);
    expect(() => tiedLayer(other, { 'b.weight': 'a.weight' })).toThrow(thrown('SHAPE_MISMATCH'));
    expect(() => tiedLayer(model, { 'head.weight': 'head.weight' })).toThrow(thrown('INVALID_OPTION'));
    const inTurn = { 'head.weight': 'embed.weight', 'embed.weight': 'other.weight' };
    const three = defineLayer({ ...parts, other: parts.embed }, (_, one: Tensor) => one);
    expect(() => tiedLayer(three, inTurn)).toThrow(thrown('INVALID_OPTION'));
  });
});

test('frozen parameters take no gradient', () => {
  const layer = encoderLayer(sizes);
  const parameters = initialize(backend, layer, 1);
  const { trainable, frozen } = splitParameters(parameters, trainableExcept(layer, 'self_attn.*'));
  const { gradients } = valueAndGrad((of: ParameterTree) =>
    sum(layer.apply(contextOf({ ...frozen, ...of }), x)),
  )(trainable);
  expect(Object.keys(gradients).filter((name) => name.startsWith('self_attn'))).toEqual([]);
  expect(Object.keys(gradients)).toContain('linear1.weight');
});

test('losses besides the output are summed, also in gradients', async () => {
  const plain = linearLayer(8, 8, { bias: false });
  const layer = defineLayer({ '': plain }, (context, one: Tensor) => {
    const y = plain.apply(context, one);
    addLoss(context, sum(mul(y, y)));
    return y;
  });
  const parts = { a: layer, b: layer };
  const model = defineLayer(parts, (context, one: Tensor) =>
    parts.b.apply(within(context, 'b'), parts.a.apply(within(context, 'a'), one)),
  );
  const parameters = initialize(backend, model, 1);
  const before = backend.memory().live;
  const { output, loss } = withLosses(contextOf(parameters), (context) => model.apply(context, x));
  const expected = scope(() => {
    const y = plain.apply(within(contextOf(parameters), 'a'), x);
    return add(sum(mul(y, y)), sum(mul(output, output)));
  });
  expect((await numbers(loss as Tensor))[0]).toBeCloseTo(Number((await expected.data())[0]), 10);
  const { value, gradients } = valueAndGrad(
    (of: ParameterTree) => withLosses(contextOf(of), (context) => model.apply(context, x)).loss as Tensor,
  )(parameters);
  expect((await numbers(gradients['a.weight'] as Tensor)).some((one) => one !== 0)).toBe(true);
  disposeParameters(gradients);
  for (const made of [output, loss as Tensor, expected, value]) made.dispose();
  expect(backend.memory().live).toBe(before);
  expect(
    withLosses(contextOf(parameters), (context) => plain.apply(within(context, 'a'), x)).loss,
  ).toBeUndefined();
});

test('nothing but the output stays on the backend', () => {
  const stack = encoderStack({
    ...{ layers: 2, ...sizes, normFirst: true },
    attention: { mechanism: topK({ k: 2 }) },
    feedForward: { k: 3 },
  });
  const parameters = initialize(backend, stack, 1);
  const before = backend.memory().live;
  const output = stack.apply(contextOf(parameters), x);
  expect(backend.memory().live - before).toBe(8 * output.size);
  output.dispose();
  expect(backend.memory().live).toBe(before);
});

test('a deeper stack needs no more than its parameters', () => {
  const peakOf = (layers: number): number => {
    const own = createReferenceBackend();
    const stack = encoderStack({ layers, ...sizes });
    const parameters = initialize(own, stack, 1);
    const before = own.memory().live;
    stack.apply(contextOf(parameters), randomTensor(own, 1, 2, 50, 8));
    return (own.memory().peak ?? 0) - before;
  };
  expect(peakOf(8)).toBe(peakOf(2));
});

test('hooks see layers by their paths', () => {
  const stack = encoderStack({ layers: 2, ...sizes });
  const seen: string[] = [];
  const dispose = (path: string, tensors: object): void => {
    seen.push(path);
    disposeParameters(tensors as ParameterTree);
  };
  const trace = {
    onAttention: dispose,
    onFeedForward: dispose,
    onBeforeFeedForward: (path: string, one: Tensor) => dispose(`${path} before`, { one }),
    onResidual: (path: string, one: Tensor) => dispose(path, { one }),
  };
  stack.apply(within({ ...contextOf(prefixed(initialize(backend, stack, 1))), trace }, 'encoder'), x);
  expect(seen).toEqual(
    [0, 1].flatMap((index) => {
      const path = `encoder.layers.${index}`;
      return [`${path}.self_attn`, `${path} before`, path, path];
    }),
  );
});

const prefixed = (tree: ParameterTree): ParameterTree =>
  Object.fromEntries(Object.entries(tree).map(([name, one]) => [`encoder.${name}`, one]));

describe('mistakes have names', () => {
  test('missing parameters and wrong inputs', () => {
    const layer = linearLayer(8, 3);
    expect(() => layer.apply(contextOf({}), x)).toThrow(thrown('MISSING_WEIGHT'));
    // Parameters in place of a context.
    expect(() => layer.apply({} as never, x)).toThrow(/contextOf\(parameters\)/);
    const parameters = initialize(backend, layer, 1);
    expect(() => layer.apply(contextOf(parameters), randomTensor(backend, 1, 2, 7))).toThrow(
      thrown('SHAPE_MISMATCH'),
    );
    const attention = attentionLayer({ width: 8, heads: 2 });
    const own = contextOf(initialize(backend, attention, 1));
    expect(() => attention.apply(own, randomTensor(backend, 1, 2, 8))).toThrow(thrown('RANK_MISMATCH'));
    const misspelt = { keyLength: tensor(backend, Int32Array.of(1, 1), [2]) };
    expect(() => attention.apply(own, x, misspelt as object)).toThrow(/keyLengths/);
  });

  test('configurations that cannot be', () => {
    expect(() => linearLayer(0, 3)).toThrow(thrown('INVALID_OPTION'));
    expect(() => attentionLayer({ width: 8, heads: 3 })).toThrow(thrown('INVALID_OPTION'));
    expect(() => attentionLayer({ width: 8, heads: 4, keyValueHeads: 3 })).toThrow(thrown('INVALID_OPTION'));
    expect(() => topK({ k: 0 })).toThrow(thrown('INVALID_OPTION'));
    expect(() => encoderStack({ layers: 0, ...sizes })).toThrow(thrown('INVALID_OPTION'));
    expect(() =>
      defineLayer({ '': linearLayer(2, 2), a: { parameters: {} } }, (_, one: Tensor) => one),
    ).not.toThrow();
    const twice = {
      '': { parameters: { 'a.weight': { shape: [1], initializer: () => new Float64Array(1) } } },
    };
    expect(() => defineLayer({ ...twice, a: linearLayer(1, 1) }, (_, one: Tensor) => one)).toThrow(
      thrown('INVALID_OPTION'),
    );
  });
});

test('a decoder decodes step by step, with the memory looked at once', async () => {
  const stack = decoderStack({ layers: 2, ...sizes, attention: { rotary: {} } });
  const context = contextOf(initialize(backend, stack, 1));
  const memory = randomTensor(backend, 2, 2, 4, 8);
  const memoryLengths = tensor(backend, Int32Array.of(4, 2), [2]);
  const whole = await numbers(stack.apply(context, x, memory, { memoryLengths }));
  const memories = stack.remember(context, memory);
  const first = stack.step(context, narrow(x, 1, 0, 3), memories, undefined, { memoryLengths });
  const second = stack.step(context, narrow(x, 1, 3, 2), memories, first.states, { memoryLengths });
  const made = await numbers(concat([first.output, second.output], 1));
  for (const [at, value] of whole.entries()) expect(made[at]).toBeCloseTo(value, 12);
  expect(second.states.map(({ length }) => length)).toEqual([5, 5]);
});

test('only causal layers have steps', () => {
  const layer = attentionLayer({ width: 8, heads: 2 });
  expect(() => layer.step(contextOf(initialize(backend, layer, 1)), x)).toThrow(thrown('INVALID_OPTION'));
});

test('what padding holds does not matter to a mean of tokens', async () => {
  const head = classifierHead({ width: 8, classes: 3 });
  const context = contextOf(initialize(backend, head, 1));
  const padded = concat([narrow(x, 1, 0, 3), mul(narrow(x, 1, 3, 2), Number.NaN)], 1);
  const made = await numbers(head.apply(context, padded, tensor(backend, Int32Array.of(3, 3), [2])));
  const expected = await numbers(head.apply(context, narrow(x, 1, 0, 3)));
  for (const [at, value] of expected.entries()) expect(made[at]).toBeCloseTo(value, 12);
});

test('the mean of no tokens is zeros, the first token is a choice', async () => {
  const head = classifierHead({ width: 8, classes: 3 });
  const parameters = initialize(backend, head, 1);
  const lengths = tensor(backend, Int32Array.of(0, 5), [2]);
  const made = await numbers(head.apply(contextOf(parameters), x, lengths));
  expect(made.slice(0, 3)).toEqual(await numbers(parameters['out_proj.bias'] as Tensor));
  const whole = await numbers(head.apply(contextOf(parameters), x));
  for (const at of [3, 4, 5]) expect(made[at]).toBeCloseTo(whole[at] as number, 12);
  const first = classifierHead({ width: 8, classes: 3, pooling: 'cls' });
  const plain = linearLayer(8, 3);
  const all = await numbers(plain.apply(within(contextOf(parameters), 'out_proj'), x));
  const chosen = await numbers(first.apply(contextOf(parameters), x));
  for (const [at, value] of [...all.slice(0, 3), ...all.slice(15, 18)].entries()) {
    expect(chosen[at]).toBeCloseTo(value, 12);
  }
});

test('a norm without bias', async () => {
  const layer = normLayer(8, { bias: false, epsilon: 0 });
  expect(Object.keys(layer.parameters)).toEqual(['weight']);
  const made = await numbers(layer.apply(contextOf(initialize(backend, layer, 1)), x));
  const row = made.slice(0, 8);
  expect(row.reduce((all, one) => all + one, 0)).toBeCloseTo(0, 10);
  expect(row.reduce((all, one) => all + one * one, 0)).toBeCloseTo(8, 8);
});
