import { type Backend, recordedStep, type Shape, sizeOf, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { type AdafactorOptions, adafactor, disposeParameters, type ParameterTree } from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect, test } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import { adafactorUpdates } from '../../src/primitives/adafactor.js';
import type { Stream } from '../../src/runtime/stream.js';
import { Storage, WebGpuTensor } from '../../src/tensor.js';
import { kernelsOf, PLAIN } from '../support/recording.js';
import { openTestBackend } from '../support/software-gpu.js';
import { wave } from '../support/training.js';

const software = softwareGpuAvailability();

/** Around the edges of workgroups, and each kind of parameter. */
const shapes: Readonly<Record<string, Shape>> = {
  vector: [300],
  bias: [5],
  one: [1],
  tall: [530, 33],
  wide: [3, 130],
  column: [40, 1],
  row: [1, 9],
};

/** A step of a training as it went: parameters and averages by name. */
type Values = ReadonlyMap<string, ArrayLike<number>>;

async function train(
  backend: Backend,
  options: AdafactorOptions,
  { steps, scale, all = shapes }: { steps: number; scale?: number; all?: typeof shapes },
  launches: () => Promise<number> = async () => 0,
): Promise<{ readonly after: Values; readonly launches: readonly number[] }> {
  const optimizer = adafactor(options);
  const treeOf = (phase: number, size: number): ParameterTree =>
    Object.fromEntries(
      Object.entries(all).map(([name, shape], at): [string, Tensor] => [
        name,
        tensor(
          backend,
          wave(sizeOf(shape), phase + 3 * at).map((one) => size * one),
          shape,
        ),
      ]),
    );
  let parameters = treeOf(0, 0.5);
  let state = optimizer.init(parameters);
  const counts: number[] = [];
  for (let step = 0; step < steps; step++) {
    const gradients = treeOf(11 * (step + 1), 0.01);
    const gradientScale = scale === undefined ? undefined : tensor(backend, [scale], []);
    const before = await launches();
    const next = optimizer.step(parameters, gradients, state, gradientScale && { gradientScale });
    counts.push((await launches()) - before);
    for (const tree of [parameters, gradients, state.tensors]) disposeParameters(tree);
    gradientScale?.dispose();
    ({ parameters, state } = next);
  }
  const after = new Map<string, ArrayLike<number>>();
  for (const [name, one] of Object.entries({ ...parameters, ...state.tensors })) {
    after.set(name, (await one.data()) as Float32Array);
  }
  disposeParameters(parameters);
  disposeParameters(state.tensors);
  return { after, launches: counts };
}

/**
 * Sums of up to 530 positive terms in f32 are within 3e-5 of the reference's in f64, relative, however they are ordered; so are
 * updates and averages. A parameter is rounded once a step.
 */
function expectClose(got: Values, expected: Values, rate: number, steps: number): void {
  expect([...got.keys()]).toEqual([...expected.keys()]);
  for (const [name, values] of expected) {
    const own = got.get(name) as ArrayLike<number>;
    const isAverage = name.includes('.');
    for (let at = 0; at < values.length; at++) {
      const value = values[at] as number;
      const slack = isAverage
        ? 4e-5 * (name.endsWith('exp_avg') ? Math.abs(value) + rate : Math.abs(value))
        : steps * (2 ** -23 * Math.abs(value) + 4e-5 * rate);
      expect(
        Math.abs((own[at] as number) - value),
        `${name} ${at}: ${own[at]} for ${value}`,
      ).toBeLessThanOrEqual(slack);
    }
  }
}

describe('Adafactor in few launches', () => {
  test('refuses what its kernels cannot take', () => {
    const none = (): never => {
      throw new Error('nothing is allocated before it runs');
    };
    const answer = (list: readonly Shape[]): unknown => {
      const prepared = adafactorUpdates({} as Stream, PLAIN, { allocateWindows: none }).prepare(
        { shapes: list, epsilons: [1e-30, 1e-3], clipThreshold: 1, weightDecay: 0, scaleParameter: true },
        limitsOf(PLAIN),
      );
      return 'refusals' in prepared ? prepared.refusals : prepared.describe?.().variant;
    };
    expect(answer([[4, 3], [7]])).toBe('2 parameters in 1 buffers');
    expect(answer([[2048, 2048], [2048, 2048], [2048, 2048], [2048, 2048], [8]])).toBe(
      '5 parameters in 2 buffers',
    );
    expect(answer([[2, 3, 4]])).toEqual(['matrices side by side']);
    expect(answer([[0]])).toEqual(['an empty parameter']);
    expect(answer([[2 ** 24 + 1]])).toEqual([
      'a parameter and its averages exceed a binding of 134217728 bytes',
    ]);
  });

  test('binds no more buffers and uniforms than a device takes', () => {
    const list = Array.from({ length: 40 }, (_, at): Shape => (at % 4 === 0 ? [at + 1] : [at + 1, 3]));
    for (const storageBuffers of [8, 16, 64]) {
      const facts = { ...PLAIN, storageBuffers };
      const kernels = kernelsOf(facts, (stream, view) => {
        const of = (shape: Shape): WebGpuTensor => {
          const { span, dtype } = view(shape);
          return new WebGpuTensor(new Storage(span, span.size), shape, dtype);
        };
        const slots = (shape: Shape): readonly string[] =>
          shape.length === 2 ? ['exp_avg_sq_row', 'exp_avg_sq_col'] : ['exp_avg_sq'];
        const inputs = list.flatMap((shape, at) =>
          ['parameter', 'gradient', 'exp_avg', ...slots(shape)].map((slot) => [`${at}:${slot}`, of(shape)]),
        );
        const prepared = adafactorUpdates(stream, facts, { allocateWindows: (own) => own.map(of) }).prepare(
          {
            ...{ shapes: list, epsilons: [1e-30, 1e-3], clipThreshold: 1, beta1: 0.9 },
            ...{ weightDecay: 0.1, scaleParameter: true },
          },
          limitsOf(facts),
        );
        if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
        prepared.run({ ...Object.fromEntries(inputs), numbers: of([3]), scale: of([]) }, 1);
      });
      expect(kernels.size).toBeGreaterThan(5);
    }
  });

  for (const [name, options, scale, rate, launches] of [
    ['with its defaults', {}, undefined, 1e-2, [9, 9, 9]],
    [
      'with everything else',
      {
        ...{ learningRate: 1e-3, relativeStep: false, scaleParameter: false, beta1: 0.9 },
        ...{ weightDecay: 0.1, clipThreshold: 0.5 },
      },
      0.25,
      1e-3,
      [10, 10, 10],
    ],
  ] as const) {
    optional(`agrees with its ops in f64, ${name}`, software, async () => {
      const backend = await openTestBackend();
      const live = backend.memory().live;
      const count = async (): Promise<number> => {
        await backend.stream.finish();
        return backend.stream.counts.launches;
      };
      const call = { steps: 3, ...(scale !== undefined && { scale }) };
      const got = await train(backend, options, call, count);
      const expected = await train(createReferenceBackend(), options, call);
      expectClose(got.after, expected.after, 8 * rate, 3);
      // For seven parameters, on the 12 storage buffers of SwiftShader.
      expect(got.launches).toEqual(launches);
      expect(backend.memory().live).toBe(live);
      const again = await train(backend, options, call);
      expect(again.after).toEqual(got.after);
    });
  }

  optional('matrices side by side go by ops, beside others', software, async () => {
    const backend = await openTestBackend();
    const call = { steps: 1, all: { cube: [2, 4, 6], matrix: [6, 4] } };
    const got = await train(backend, {}, call);
    const expected = await train(createReferenceBackend(), {}, call);
    expectClose(got.after, expected.after, 8e-2, 1);
  });

  optional('a gradient that is not finite makes its whole matrix NaN, and no other', software, async () => {
    const backend = await openTestBackend();
    const optimizer = adafactor();
    const parameters = { a: tensor(backend, wave(12, 0), [3, 4]), b: tensor(backend, wave(12, 1), [3, 4]) };
    const gradients = {
      a: tensor(backend, wave(12, 2).fill(Number.NaN, 5, 6), [3, 4]),
      b: tensor(backend, wave(12, 3), [3, 4]),
    };
    const { parameters: next } = optimizer.step(parameters, gradients, optimizer.init(parameters));
    const [a, b] = await Promise.all([next.a as Tensor, next.b as Tensor].map((one) => one.data()));
    expect([...(a as Float32Array)].every(Number.isNaN)).toBe(true);
    expect([...(b as Float32Array)].every(Number.isFinite)).toBe(true);
  });

  optional('recorded steps have the bits of called ones', software, async () => {
    const backend = await openTestBackend();
    const optimizer = adafactor({ beta1: 0.9 });
    const own = { matrix: [9, 5], vector: [70], other: [3, 64] };
    const treeOf = (phase: number): ParameterTree =>
      Object.fromEntries(
        Object.entries(own).map(([name, shape], at): [string, Tensor] => [
          name,
          tensor(backend, wave(sizeOf(shape), phase + at), shape),
        ]),
      );
    type State = { readonly parameters: ParameterTree; readonly tensors: ParameterTree };
    const results: unknown[] = [];
    for (const mostRecordings of [1, 0]) {
      const parameters = treeOf(0);
      let { tensors, steps } = optimizer.init(parameters);
      const { numbersAt } = optimizer.plan(steps, Object.keys(own));
      const step = recordedStep(
        (state: State, inputs: { readonly gradients: ParameterTree; readonly numbers: Tensor }) => {
          const { gradients, numbers } = inputs;
          const next = optimizer.update(state.parameters, gradients, state.tensors, { numbersAt }, numbers);
          return { state: { ...next } as State, outputs: {} };
        },
        { mostRecordings },
      );
      let state: State = { parameters, tensors };
      for (let at = 1; at <= 5; at++) {
        const plan = optimizer.plan(steps, Object.keys(own));
        steps = plan.steps;
        const [gradients, numbers] = [treeOf(7 * at), tensor(backend, plan.numbers, [plan.numbers.length])];
        ({ state } = step(state, { gradients, numbers }));
        disposeParameters(gradients);
        numbers.dispose();
      }
      expect(step.counts.replayed).toBe(mostRecordings === 1 ? 3 : 0);
      ({ tensors } = state);
      results.push(
        await Promise.all(Object.values({ ...state.parameters, ...tensors }).map((one) => one.data())),
      );
      step.dispose();
      disposeParameters(state.parameters);
      disposeParameters(tensors);
    }
    expect(results[0]).toEqual(results[1]);
  });
});
