import { readFileSync } from 'node:fs';
import { sizeOf, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  adafactor,
  adam,
  adamW,
  disposeParameters,
  type Optimizer,
  oneCycleSchedule,
  type ParameterTree,
  type Schedule,
  sgd,
} from '../../src/index.js';
import { type Values, valuesOf } from '../support/tensors.js';

interface Golden {
  readonly name: string;
  readonly optimizer: 'adamW' | 'adam' | 'sgd' | 'adafactor';
  readonly options: object;
  readonly schedule?: { readonly totalSteps: number };
  readonly after: { readonly [steps: string]: Values };
}

const goldens: { readonly shapes: { readonly [name: string]: number[] }; readonly cases: readonly Golden[] } =
  JSON.parse(readFileSync(new URL('../goldens/optimizers.json', import.meta.url), 'utf8'));
const optimizers = { adamW, adam, sgd, adafactor } as const;
const backend = createReferenceBackend();

/** A tree made by the formula of tooling/goldens/optimizers.py. */
function treeOf(value: (index: number, element: number) => number, has = (_: number) => true): ParameterTree {
  const entries = Object.entries(goldens.shapes).flatMap(([name, shape], index): [string, Tensor][] =>
    has(index)
      ? [
          [
            name,
            tensor(
              backend,
              Float32Array.from({ length: sizeOf(shape) }, (_, i) => value(index, i)),
              shape,
            ),
          ],
        ]
      : [],
  );
  return Object.fromEntries(entries);
}

const initial = (): ParameterTree => treeOf((index, i) => Math.sin(1 + 3 * index + i));
const gradientsOf = (step: number): ParameterTree =>
  treeOf(
    (index, i) => (Math.cos(step + 1.7 * index + 0.9 * i) * (1 + index)) / 4,
    (index) => index !== 2 || step % 2 === 0,
  );

async function train(
  optimizer: Optimizer,
  steps: number,
  schedule: Schedule = () => ({}),
  parameters = initial(),
) {
  let now = { parameters, state: optimizer.init(parameters) };
  for (let step = 0; step < steps; step++) {
    const gradients = gradientsOf(step);
    const next = optimizer.step(now.parameters, gradients, now.state, schedule(step));
    for (const tree of [gradients, now.parameters, now.state.tensors]) disposeParameters(tree);
    now = next;
  }
  return now;
}

describe('parameters after steps are those of PyTorch and transformers', () => {
  test.each(goldens.cases)('$name', async ({ optimizer, options, schedule, after }) => {
    const made = (optimizers[optimizer] as (options: object) => Optimizer)(options);
    for (const [steps, expected] of Object.entries(after)) {
      const run = await train(made, Number(steps), schedule && oneCycleSchedule(schedule));
      const got = await valuesOf(run.parameters);
      // Roundings of f32 add up over the steps.
      const tolerance = 1e-6 + 1e-7 * Number(steps);
      for (const [name, values] of Object.entries(expected)) {
        values.forEach((value, i) => {
          expect(Math.abs((got[name]?.[i] as number) - value), `${name}[${i}] after ${steps}`).toBeLessThan(
            tolerance,
          );
        });
      }
    }
  });
});

test('a parameter without gradient is passed on, with its state and its count', async () => {
  const { state, parameters } = await train(adamW(), 3);
  expect(state.steps).toEqual({ 'proj.weight': 3, 'proj.bias': 3, 'conv.weight': 2 });
  const none = adamW().step(parameters, {}, state);
  expect(none.state.steps).toEqual(state.steps);
  expect(await valuesOf(none.parameters)).toEqual(await valuesOf(parameters));
});

test('a group has settings of its own; the first that takes a name has it', async () => {
  const groups = [
    { match: (name: string) => name.startsWith('proj.'), learningRate: 0 },
    { match: () => true, learningRate: 0.5 },
  ];
  const { parameters } = await train(sgd({ groups }), 1);
  const [was, is] = [await valuesOf(initial()), await valuesOf(parameters)];
  expect(is['proj.weight']).toEqual(was['proj.weight']);
  const gradient = await valuesOf(gradientsOf(0));
  (is['conv.weight'] as readonly number[]).forEach((value, i) => {
    const expected = (was['conv.weight']?.[i] as number) - 0.5 * (gradient['conv.weight']?.[i] as number);
    expect(value).toBeCloseTo(expected, 6);
  });
});

describe('learningRate', () => {
  const groups = [{ match: () => true, learningRate: 0.5 }];
  test.each([
    ['adamW', adamW({ learningRate: 0.04, groups }), [0.04, 0.04], [0.01, 0.01]],
    ['adam', adam(), [1e-3, 1e-3], [2.5e-4, 2.5e-4]],
    ['sgd', sgd({ learningRate: 0.04, momentum: 0.9 }), [0.04, 0.04], [0.01, 0.01]],
    ['adafactor', adafactor({ learningRate: 0.04 }), [0.04, 0.04], [0.01, 0.01]],
    // The least of 1e-2 and 1 / sqrt(step), whatever a schedule says.
    ['relative steps', adafactor(), [1e-2, 1 / 200], [1e-2, 1 / 200]],
    // The least of 1e-6 * step and 1 / sqrt(step).
    ['their warm-up', adafactor({ warmupInit: true }), [3e-6, 1 / 200], [3e-6, 1 / 200]],
  ])('of %s, at step 3 and 40,000, plain and with a factor', (_, optimizer, plain, quarter) => {
    const rates = (factor?: number) => [3, 40_000].map((step) => optimizer.learningRate?.(step, factor));
    expect(rates()).toEqual(plain.map((rate) => expect.closeTo(rate, 12)));
    expect(rates(0.25)).toEqual(quarter.map((rate) => expect.closeTo(rate, 12)));
  });

  test('is what an update goes by', async () => {
    const optimizer = sgd({ learningRate: 0.2 });
    const { parameters } = await train(optimizer, 1, () => ({ rateFactor: 0.5 }));
    const [was, is, gradients] = await Promise.all([initial(), parameters, gradientsOf(0)].map(valuesOf));
    const moved = (was?.['proj.bias']?.[0] as number) - (is?.['proj.bias']?.[0] as number);
    expect(moved / (gradients?.['proj.bias']?.[0] as number)).toBeCloseTo(
      optimizer.learningRate?.(1, 0.5) as number,
      6,
    );
  });
});

test('a schedule may replace the first beta but not that of an optimiser without momentum', async () => {
  const plain = await train(sgd(), 4);
  const moved = await train(sgd(), 4, () => ({ momentum: 0.9 }));
  expect(await valuesOf(moved.parameters)).toEqual(await valuesOf(plain.parameters));
});

test('a setting that is undefined is one that is not given', async () => {
  const unset = { scaleParameter: undefined, epsilons: undefined, relativeStep: undefined } as never;
  const groups = [{ match: () => true, clipThreshold: undefined } as never];
  const [plain, given] = [await train(adafactor(), 2), await train(adafactor(unset), 2)];
  const grouped = await train(adafactor({ groups }), 2);
  for (const one of [given, grouped]) {
    expect(await valuesOf(one.parameters)).toEqual(await valuesOf(plain.parameters));
  }
});

test('nothing is left over after steps', async () => {
  const before = backend.memory().live;
  const { parameters, state } = await train(adafactor({ beta1: 0.9 }), 5);
  disposeParameters(parameters);
  disposeParameters(state.tensors);
  expect(backend.memory().live).toBe(before);
});

describe('what does not fit is refused', () => {
  const parameters = initial();
  const optimizer = adamW();
  const state = optimizer.init(parameters);
  const refusal = (run: () => unknown): unknown => {
    try {
      run();
    } catch (error) {
      return (error as { code?: unknown }).code;
    }
    return 'nothing';
  };
  const other = tensor(backend, [1, 2, 3]);
  test.each([
    [
      'a gradient of no parameter',
      'EXTRA_WEIGHT',
      () => optimizer.step(parameters, { 'other.bias': other }, state),
    ],
    [
      'a gradient of another shape',
      'SHAPE_MISMATCH',
      () => optimizer.step(parameters, { 'proj.bias': other }, state),
    ],
    ['no parameters', 'INVALID_OPTION', () => optimizer.step({}, {}, state)],
    ['no state', 'INVALID_OPTION', () => optimizer.step(parameters, {}, undefined as never)],
    ['a state of other parameters', 'MISSING_WEIGHT', () => optimizer.step({ x: other }, {}, state)],
    [
      'a state of another optimiser',
      'MISSING_WEIGHT',
      () => sgd({ momentum: 0.9 }).step(parameters, {}, state),
    ],
    ['a negative rate', 'INVALID_OPTION', () => adamW({ learningRate: -1 })],
    ['a rate that is NaN', 'INVALID_OPTION', () => sgd({ learningRate: Number.NaN })],
    ['a beta of 1', 'INVALID_OPTION', () => adam({ betas: [0.9, 1] })],
    ['betas of text', 'INVALID_OPTION', () => adam({ betas: ['0.9', '0.99'] as never })],
    ['a decay rate above 0', 'INVALID_OPTION', () => adafactor({ decayRate: 0.8 })],
    ['a clip threshold of 0', 'INVALID_OPTION', () => adafactor({ clipThreshold: 0 })],
    [
      'a rate factor that is NaN',
      'INVALID_OPTION',
      () => optimizer.step(parameters, {}, state, { rateFactor: Number.NaN }),
    ],
    [
      'an infinite momentum',
      'INVALID_OPTION',
      () => optimizer.step(parameters, {}, state, { momentum: Number.POSITIVE_INFINITY }),
    ],
    ['three betas', 'INVALID_OPTION', () => adam({ betas: [0.9, 0.9, 0.9] as never })],
    ['nesterov without momentum', 'INVALID_OPTION', () => sgd({ nesterov: true })],
    [
      'a rate with relative steps',
      'INVALID_OPTION',
      () => adafactor({ learningRate: 1, relativeStep: true }),
    ],
    ['a negative epsilon', 'INVALID_OPTION', () => adafactor({ epsilons: [-1, 1] })],
    ['no rate at all', 'INVALID_OPTION', () => adafactor({ relativeStep: false })],
    [
      'a warm-up without relative steps',
      'INVALID_OPTION',
      () => adafactor({ learningRate: 1, warmupInit: true }),
    ],
    [
      'a bad setting of a group',
      'INVALID_OPTION',
      () => adamW({ groups: [{ match: () => true, weightDecay: -1 }] }),
    ],
    [
      'a misspelt setting of a group',
      'INVALID_OPTION',
      () => adamW({ groups: [{ match: () => true, lr: 1 } as never] }),
    ],
    ['a group without names', 'INVALID_OPTION', () => adamW({ groups: [{ weightDecay: 0 } as never] })],
    ['a misspelt option', 'INVALID_OPTION', () => adamW({ weight_decay: 0 } as never)],
  ])('%s', (_, code, run) => {
    expect(refusal(run)).toBe(code);
  });
});
