import {
  add,
  cast,
  concat,
  mul,
  narrow,
  reshape,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  attentionLayer,
  contextOf,
  defineLayer,
  disposeParameters,
  encoderLayer,
  encoderStack,
  exact,
  initialize,
  type Mechanism,
  type MechanismState,
  type ParameterTree,
  performer,
  redraw,
  topK,
  trainableExcept,
} from '../../src/index.js';
import { randomTensor } from '../support/random.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const x = mul(randomTensor(backend, 7, 2, 9, 8), 0.8);
const mechanisms: { readonly [name: string]: Mechanism } = {
  exact: exact(),
  'top-k': topK({ k: 3 }),
  performer: performer({ features: 16, chunk: 4 }),
  'performer, relu': performer({ features: 16, chunk: 4, kind: 'relu' }),
};

async function expectClose(made: Tensor, expected: Tensor, digits = 10): Promise<void> {
  expect(made.shape).toEqual(expected.shape);
  const [numbers, wanted] = await Promise.all([made.data(), expected.data()]);
  for (const [at, number] of Array.from(wanted, Number).entries()) {
    expect(numbers[at]).toBeCloseTo(number, digits);
  }
}

async function largestDifference(a: Tensor, b: Tensor): Promise<number> {
  const [left, right] = await Promise.all([a.data(), b.data()]);
  return Math.max(...Array.from(left, (one, at) => Math.abs(one - (right[at] as number))));
}

describe.each(Object.entries(mechanisms))('%s', (_, mechanism) => {
  const layer = attentionLayer({ width: 8, heads: 4, keyValueHeads: 2, causal: true, mechanism });
  const context = contextOf(initialize(backend, layer, 5));
  const turned = attentionLayer({ width: 8, heads: 2, causal: true, rotary: {}, mechanism });

  test('causally, later tokens change nothing before them', async () => {
    const whole = layer.apply(context, x);
    await expectClose(layer.apply(context, narrow(x, 1, 0, 5)), narrow(whole, 1, 0, 5));
    const other = concat([narrow(x, 1, 0, 5), mul(narrow(x, 1, 5, 4), -3)], 1);
    await expectClose(narrow(layer.apply(context, other), 1, 0, 5), narrow(whole, 1, 0, 5));
  });

  test('causally, later tokens change not a bit before them, however large they are', async () => {
    // In f32, and with keys of magnitudes of 1e3, whose features underflow beside those of others.
    const f32 = createReferenceBackend();
    const own = contextOf(initialize(f32, layer, 5));
    const small = mul(randomTensor(f32, 7, 1, 9, 8), 0.8);
    for (const [before, after] of [
      [1, 1e3],
      [1e3, 1],
      [1e3, -3e3],
    ] as const) {
      const first = mul(narrow(small, 1, 0, 6), before);
      const outputs = [1, after].map((factor) =>
        narrow(layer.apply(own, concat([first, mul(narrow(small, 1, 6, 3), factor)], 1)), 1, 0, 6),
      );
      const [one, other] = await Promise.all(outputs.map((output) => output.data()));
      expect(other).toEqual(one);
      expect(Array.from(one ?? []).every((value) => Number.isFinite(value))).toBe(true);
    }
  });

  test.each([
    ['grouped heads', layer],
    ['rotary positions', turned],
  ])('step by step it gives the same as at once: %s', async (_name, one) => {
    const own = contextOf(initialize(backend, one, 6));
    let state: MechanismState | undefined;
    const outputs: Tensor[] = [];
    for (const [start, length] of [
      [0, 3],
      [3, 1],
      [4, 1],
      [5, 4],
    ] as const) {
      const step = one.step(own, narrow(x, 1, start, length), state);
      state = step.state;
      outputs.push(step.output);
    }
    expect(state?.length).toBe(9);
    await expectClose(concat(outputs, 1), one.apply(own, x));
  });

  test('so it does in a stack of layers, and leaves nothing behind', async () => {
    const stack = encoderStack({
      ...{ layers: 2, width: 8, heads: 2, hidden: 12, normFirst: true },
      attention: { mechanism, causal: true, rotary: {} },
    });
    const own = contextOf(initialize(backend, stack, 6));
    const whole = stack.apply(own, x);
    const before = backend.memory().live;
    const first = stack.step(own, narrow(x, 1, 0, 4));
    const second = stack.step(own, narrow(x, 1, 4, 5), first.states);
    const all = concat([first.output, second.output], 1);
    await expectClose(all, whole);
    for (const made of [first, second]) {
      made.output.dispose();
      for (const { tensors } of made.states) disposeParameters(tensors);
    }
    all.dispose();
    expect(backend.memory().live).toBe(before + 8 * x.size); // the two parts of x
  });

  test('in f16 it is near to f32', async () => {
    const own = createReferenceBackend();
    const stack = encoderStack({
      ...{ layers: 1, width: 8, heads: 2, hidden: 12, normFirst: true },
      attention: { mechanism, causal: true, rotary: {} },
    });
    const parameters = initialize(own, stack, 6);
    const halves = Object.fromEntries(
      Object.entries(parameters).map(([name, one]) => [name, cast(one, 'f16')]),
    );
    const input = randomTensor(own, 7, 2, 9, 8);
    const output = stack.apply(contextOf(halves), cast(input, 'f16'));
    expect(output.dtype).toBe('f16');
    const difference = await largestDifference(
      cast(output, 'f32'),
      stack.apply(contextOf(parameters), input),
    );
    expect(difference).toBeLessThan(0.03);
  });

  test.each([50, Number.NaN])('hidden keys are as if they were not there: times %d', async (factor) => {
    const free = attentionLayer({ width: 8, heads: 2, mechanism });
    const own = contextOf(initialize(backend, free, 5));
    const keyLengths = tensor(backend, Int32Array.of(6, 6), [2]);
    const padded = concat([narrow(x, 1, 0, 6), mul(narrow(x, 1, 6, 3), factor)], 1);
    await expectClose(
      narrow(free.apply(own, padded, { keyLengths }), 1, 0, 6),
      free.apply(own, narrow(x, 1, 0, 6)),
    );
  });

  test.each([false, true])(
    'a text without tokens gives zeros, with finite gradients: causal %s',
    async (causal) => {
      const free = attentionLayer({ width: 8, heads: 2, causal, mechanism });
      const parameters = initialize(backend, free, 5);
      const keyLengths = tensor(backend, Int32Array.of(0, 9), [2]);
      // The bias of the output is 0 at first.
      const output = free.apply(contextOf(parameters), x, { keyLengths });
      await expectClose(narrow(output, 0, 0, 1), zeros(backend, [1, 9, 8]));
      const { gradients } = valueAndGrad((of: ParameterTree) =>
        sum(free.apply(contextOf(of), x, { keyLengths })),
      )(parameters);
      for (const gradient of Object.values(gradients)) {
        expect(Array.from(await gradient.data()).every(Number.isFinite)).toBe(true);
      }
    },
  );

  test('its gradients are those of finite differences', async () => {
    const parameters = initialize(backend, layer, 8);
    const weights = randomTensor(backend, 9, 2, 9, 8);
    const loss = (of: ParameterTree): Tensor => sum(mul(layer.apply(contextOf(of), x), weights));
    const { gradients } = valueAndGrad(loss)(parameters);
    for (const name of ['q_proj.weight', 'k_proj.weight', 'v_proj.weight']) {
      const one = parameters[name] as Tensor;
      const direction = randomTensor(backend, 10, ...one.shape);
      const moved = async (by: number): Promise<number> => {
        const step = tensor(
          backend,
          Float64Array.from(await one.data()).map((value, at) => value + by * (directions[at] as number)),
          one.shape,
        );
        return Number((await loss({ ...parameters, [name]: step }).data())[0]);
      };
      const directions = await direction.data();
      const slope = ((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5;
      const along = sum(mul(gradients[name] as Tensor, direction));
      expect(Number((await along.data())[0]), name).toBeCloseTo(slope, 6);
    }
  });
});

test('more features are nearer to softmax attention', async () => {
  const small = mul(x, 0.4);
  const reference = attentionLayer({ width: 8, heads: 2 });
  const parameters = initialize(backend, reference, 3);
  const truth = reference.apply(contextOf(parameters), small);
  const errorOf = async (features: number): Promise<number> => {
    const layer = attentionLayer({ width: 8, heads: 2, mechanism: performer({ features }) });
    const own = initialize(backend, layer, 3);
    return largestDifference(layer.apply(contextOf({ ...own, ...parameters }), small), truth);
  };
  const [few, many] = [await errorOf(8), await errorOf(8192)];
  expect(many).toBeLessThan(few / 4);
  expect(many).toBeLessThan(2e-3);
});

test.each(['exact', 'top-k'])(
  'a budget of the run holds for %s attention, at once and step by step',
  (name) => {
    const layer = attentionLayer({
      width: 8,
      heads: 2,
      causal: true,
      mechanism: mechanisms[name] as Mechanism,
    });
    const context = { ...contextOf(initialize(backend, layer, 1)), budgetBytes: 1 };
    const refused = expect.objectContaining({ code: 'DOES_NOT_FIT' });
    expect(() => layer.apply(context, x)).toThrow(refused);
    expect(() => layer.step(context, x)).toThrow(refused);
  },
);

test('top-k with all keys is exact', async () => {
  const layers = [attentionLayer({ width: 8, heads: 2 })];
  layers.push(attentionLayer({ width: 8, heads: 2, mechanism: topK({ k: 9 }) }));
  const context = contextOf(initialize(backend, layers[0] as (typeof layers)[0], 3));
  const [a, b] = layers.map((layer) => layer.apply(context, x));
  await expectClose(a as Tensor, b as Tensor);
});

describe('what a mechanism cannot do', () => {
  const layer = attentionLayer({ width: 8, heads: 2, mechanism: performer({ features: 4 }) });
  const context = contextOf(initialize(backend, layer, 1));
  const unsupported = expect.objectContaining({ code: 'UNSUPPORTED' });

  test('is refused by name', () => {
    const mask = reshape(tensor(backend, [true, ...Array(8).fill(false)]), [1, 1, 1, 9]);
    expect(() => layer.apply(context, x, { mask })).toThrow(unsupported);
    expect(() => layer.apply(context, x, { mask })).toThrow(/performer attention takes no mask/);
    expect(() => layer.apply(context, x, { bias: zeros(backend, [1, 1, 9, 9]) })).toThrow(unsupported);
    const relativeBias = { table: zeros(backend, [8, 2]), bidirectional: true, maxDistance: 16 };
    expect(() => layer.apply(context, x, { relativeBias })).toThrow(unsupported);
  });

  test('is refused when the layer is built, where the settings say it', () => {
    const build = (): unknown => attentionLayer({ width: 8, heads: 2, dropout: 0.1, mechanism: performer() });
    expect(build).toThrow(unsupported);
    const plain: Mechanism = { name: 'mean', takes: [], attend: ({ value }) => value.alias() };
    expect(() => attentionLayer({ width: 8, heads: 2, causal: true, mechanism: plain })).toThrow(unsupported);
    expect(() => attentionLayer({ width: 8, heads: 2, keyValueHeads: 1, mechanism: plain })).toThrow(
      unsupported,
    );
    const own = attentionLayer({ width: 8, heads: 2, mechanism: plain });
    expect(() => own.step(contextOf(initialize(backend, own, 1)), x)).toThrow(unsupported);
  });

  test('a mechanism may say why, attend to its own input only, or have its queries as keys', async () => {
    const own: Mechanism = {
      name: 'own',
      takes: ['keyLengths'],
      refusals: { causal: 'It looks ahead', source: 'Only its own tokens' },
      self: 'only',
      attend: ({ value, input, query, key }) => {
        expect(input?.shape).toEqual([2, 9, 8]);
        return add(value, mul(add(query, key), 0));
      },
    };
    const options = { width: 8, heads: 2 };
    expect(() => attentionLayer({ ...options, causal: true, mechanism: own })).toThrow(
      /It looks ahead\. Use/,
    );
    expect(() => attentionLayer({ ...options, sourceWidth: 4, mechanism: own })).toThrow(
      /Only its own tokens/,
    );
    const once = attentionLayer({ ...options, mechanism: own });
    const weights = contextOf(initialize(backend, once, 1));
    expect(() => once.apply(weights, x, { source: x.alias() })).toThrow(unsupported);
    expect(once.apply(weights, x, { source: x }).shape).toEqual([2, 9, 8]);
    expect(() => once.keysAndValues(weights, x)).toThrow(unsupported);

    const tied: Mechanism = {
      ...own,
      self: 'tied',
      declare: ({ width }) => ({ scale: { shape: [width], initializer: () => new Float64Array(width) } }),
      attend: ({ query, key, value }) => add(value, mul(add(query, mul(key, -1)), 1e6)),
    };
    const layerOf = attentionLayer({ ...options, mechanism: tied });
    expect(Object.keys(layerOf.parameters)).not.toContain('k_proj.weight');
    expect(layerOf.parameters['mechanism.scale']?.shape).toEqual([8]);
    const context = contextOf(initialize(backend, layerOf, 1));
    await expectClose(
      layerOf.apply(context, x),
      once.apply({ ...context, parameters: { ...weights.parameters, ...context.parameters } }, x),
    );
  });

  test('an encoder layer has no dropout of weights with it', () => {
    const sizes = { width: 8, heads: 2, hidden: 8 };
    expect(() => encoderLayer({ ...sizes, attention: { mechanism: performer() } })).not.toThrow();
  });
});

describe('random features', () => {
  const layer = attentionLayer({
    width: 8,
    heads: 2,
    mechanism: performer({ features: 4, redrawEvery: 10 }),
  });
  const twoOf = defineLayer({ a: layer, b: layer }, (_, one: Tensor) => one);
  const parameters = initialize(backend, layer, 1);
  const name = 'mechanism.projection';

  test('are a buffer', () => {
    expect(parameters[name]?.shape).toEqual([4, 4]);
    const isTrainable = trainableExcept(layer);
    expect(isTrainable(name)).toBe(false);
    expect(isTrainable('q_proj.weight')).toBe(true);
  });

  test('are drawn anew when they are due, by seed and step', async () => {
    for (const step of [0, 9, 11]) {
      expect(redraw(layer, parameters, step, 1)).toEqual({ parameters, replaced: {} });
    }
    const { parameters: next, replaced } = redraw(layer, parameters, 20, 1);
    expect(replaced).toEqual({ [name]: parameters[name] });
    const { [name]: own, ...others } = parameters;
    expect(Object.keys(redraw(twoOf, { 'a.mechanism.projection': own as Tensor }, 20, 1).parameters)).toEqual(
      ['a.mechanism.projection'],
    );
    expect(redraw(layer, others, 20, 1)).toEqual({ parameters: others, replaced: {} });
    expect(next['q_proj.weight']).toBe(parameters['q_proj.weight']);
    const drawn = await next[name]?.data();
    expect(drawn).not.toEqual(await parameters[name]?.data());
    expect(drawn).toEqual(await redraw(layer, parameters, 20, 1).parameters[name]?.data());
    expect(drawn).not.toEqual(await redraw(layer, parameters, 30, 1).parameters[name]?.data());
  });
});

test.each([-1, Number.NaN, Number.POSITIVE_INFINITY])('performer refuses epsilon %d', (epsilon) => {
  expect(() => performer({ epsilon })).toThrow(/bad epsilon/);
});
