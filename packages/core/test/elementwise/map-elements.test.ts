import { describe, expect, test } from 'vitest';
import * as ops from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const { add, choose, div, exp, mul, sqrt, sub, tanh } = ops.terms;
const f64 = createReferenceBackend({ floatStorage: 'f64' });

const listOf = async (x: ops.Tensor): Promise<number[]> => Array.from(await x.data(), Number);
const codeOf = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    return error instanceof ops.TopKError ? error.code : String(error);
  }
  return 'nothing was thrown';
};

/** A step of an optimiser with momentum, for its shared expression and two outputs. */
const momentum = ops.elementwiseProgram(
  { inputs: ['x', 'g', 'm'], numbers: ['rate', 'kept'] },
  ({ x, g, m, rate, kept }) => {
    const next = add(mul(m, kept), g);
    return { x: sub(x, mul(next, rate)), m: next };
  },
);

const values = {
  x: [1, -2, Number.POSITIVE_INFINITY, Number.NaN, 0, 1e-40],
  g: [0.5, 3e38, 1, 1, -0, -1e-40],
  m: [2, 3e38, Number.NEGATIVE_INFINITY, 2, 0, 0],
};

describe('elementwise programs', () => {
  test('give what the ops give, also for numbers that are not ordinary', async () => {
    const [x, g, m] = [values.x, values.g, values.m].map((one) => ops.tensor(f64, one, [2, 3]));
    const vector = ops.tensor(f64, [0.1, 0.9], [2]);
    const numbers = new ops.ProgramNumbers(vector);
    const made = ops.mapElements(momentum, { x, g, m } as Record<string, ops.Tensor>, numbers);
    const next = ops.add(ops.mul(m as ops.Tensor, numbers.at(1)), g as ops.Tensor);
    const moved = ops.sub(x as ops.Tensor, ops.mul(next, numbers.at(0)));
    expect(made.x.shape).toEqual([2, 3]);
    expect(await listOf(made.x)).toEqual(await listOf(moved));
    expect(await listOf(made.m)).toEqual(await listOf(next));
  });

  test('leave nothing on the backend', async () => {
    const backend = createReferenceBackend();
    const before = backend.memory().live;
    const tensors = Object.fromEntries(
      Object.entries(values).map(([name, one]) => [name, ops.tensor(backend, one)]),
    );
    const vector = ops.tensor(backend, [0.1, 0.9]);
    const held = backend.memory().live;
    const numbers = new ops.ProgramNumbers(vector);
    const made = ops.mapElements(momentum, tensors, numbers);
    made.x.dispose();
    made.m.dispose();
    numbers.dispose();
    expect(backend.memory().live).toBe(held);
    for (const one of [...Object.values(tensors), vector]) one.dispose();
    expect(backend.memory().live).toBe(before);
  });

  test('compute an expression once that is used in several places', () => {
    let count = 0;
    const backend = createReferenceBackend();
    const counting: ops.Backend = new Proxy(backend, {
      get(target, name) {
        const own: unknown = Reflect.get(target, name);
        if (name === 'unary') count++;
        return typeof own === 'function' ? own.bind(target) : own;
      },
    });
    const program = ops.elementwiseProgram({ inputs: ['x'] }, ({ x }) => {
      const e = exp(x);
      return { sum: add(e, e), product: mul(e, sub(e, 1)), itself: e };
    });
    const made = ops.mapElements(program, { x: ops.tensor(counting, [0, 1]) });
    expect(Object.keys(made)).toEqual(['sum', 'product', 'itself']);
    expect(count).toBe(1);
  });

  test('an output may be an input, or be two outputs, and each is a tensor of its own', async () => {
    const program = ops.elementwiseProgram({ inputs: ['x'] }, ({ x }) => {
      const twice = mul(x, 2);
      return { same: x, a: twice, b: twice };
    });
    const x = ops.tensor(f64, [1, 2]);
    const { same, a, b } = ops.mapElements(program, { x });
    x.dispose();
    a.dispose();
    expect(await listOf(same)).toEqual([1, 2]);
    expect(await listOf(b)).toEqual([2, 4]);
  });

  test.each([[[]], [[0]], [[3, 0, 2]], [[1, 1, 1]]])('keep the shape [%s]', async (shape: number[]) => {
    const program = ops.elementwiseProgram({ inputs: ['x', 'y'] }, ({ x, y }) => ({ z: sub(x, y) }));
    const [x, y] = [ops.fill(f64, 3, shape), ops.fill(f64, 1, shape)];
    const { z } = ops.mapElements(program, { x, y });
    expect(z.shape).toEqual(shape);
    expect(await listOf(z)).toEqual(new Array(ops.sizeOf(shape)).fill(2));
  });

  test('an input may have an element for each row', async () => {
    const program = ops.elementwiseProgram({ inputs: ['x', 'shift'] }, ({ x, shift }) => ({
      y: exp(sub(x, shift)),
      twice: mul(shift, add(x, shift)),
    }));
    const x = ops.tensor(f64, [1, 2, 3, 4, 5, 6], [1, 2, 3]);
    const shift = ops.tensor(f64, [1, -1], [1, 2, 1]);
    const { y, twice } = ops.mapElements(program, { x, shift });
    expect(y.shape).toEqual([1, 2, 3]);
    expect(await listOf(y)).toEqual([0, 1, 2, 5, 6, 7].map(Math.exp));
    expect(await listOf(twice)).toEqual([2, 3, 4, -3, -4, -5]);
    const loss = (s: ops.Tensor): ops.Tensor => ops.sum(ops.mapElements(program, { x, shift: s }).twice);
    // Of each row: 6 shift + the sum of x.
    expect(await listOf(ops.grad(loss)(shift))).toEqual([12, 9]);
  });

  test('only the last extent of an input may be 1, not of the first, and no output is of rows alone', () => {
    const program = ops.elementwiseProgram({ inputs: ['x', 'y'] }, ({ x, y }) => ({
      z: add(x, y),
      y: exp(y),
    }));
    const [whole, rows, columns] = [ops.zeros(f64, [2, 3]), ops.zeros(f64, [2, 1]), ops.zeros(f64, [1, 3])];
    expect(codeOf(() => ops.mapElements(program, { x: whole, y: columns }))).toBe('SHAPE_MISMATCH');
    expect(codeOf(() => ops.mapElements(program, { x: rows, y: whole }))).toBe('SHAPE_MISMATCH');
    expect(() => ops.mapElements(program, { x: whole, y: rows })).toThrow(/output y reads rows alone/);
    const lists = [
      { x: whole, y: rows },
      { x: whole, y: rows },
    ];
    expect(codeOf(() => ops.mapElementsOfAll(program, lists))).toBe('SHAPE_MISMATCH');
  });

  test('have gradients for inputs and numbers, of central differences', async () => {
    const program = ops.elementwiseProgram({ inputs: ['x', 'y'], numbers: ['a'] }, ({ x, y, a }) => {
      const shared = tanh(mul(x, a));
      return { u: div(mul(shared, shared), y), v: sqrt(add(mul(x, x), exp(sub(y, a)))) };
    });
    const data = [[0.3, -1.2, 2], [1.5, 0.7, -2.2], [0.8]];
    const f = (xs: readonly ops.Tensor[]): ops.Tensor => {
      const [x, y, a] = xs as [ops.Tensor, ops.Tensor, ops.Tensor];
      const { u, v } = ops.mapElements(program, { x, y }, new ops.ProgramNumbers(a));
      return ops.sum(ops.add(ops.mul(u, 2), v));
    };
    const tensorsOf = (lists: readonly number[][]): ops.Tensor[] => lists.map((one) => ops.tensor(f64, one));
    const pulled = ops.pullback(f, tensorsOf(data));
    const gradients = pulled.backward(ops.tensor(f64, [1], []));
    const h = 1e-5;
    for (const [at, own] of data.entries()) {
      const analytic = await listOf(gradients[at] as ops.Tensor);
      for (const element of own.keys()) {
        const shifted = async (by: number): Promise<number> => {
          const lists = data.map((one, which) =>
            one.map((value, i) => (which === at && i === element ? value + by : value)),
          );
          return (await listOf(f(tensorsOf(lists))))[0] as number;
        };
        const numeric = ((await shifted(h)) - (await shifted(-h))) / (2 * h);
        expect(analytic[element]).toBeCloseTo(numeric, 7);
      }
    }
  });

  test('equal programs have equal keys, others do not', () => {
    const keyOf = (inputs: readonly string[], value: number): string =>
      ops.elementwiseProgram({ inputs }, (given) => ({
        y: mul(given[inputs[0] as string] as ops.Expression, value),
      })).key;
    expect(keyOf(['x'], 2)).toBe(keyOf(['x'], 2));
    expect(new Set([keyOf(['x'], 2), keyOf(['x'], 3), keyOf(['z'], 2), keyOf(['x', 'unused'], 2)]).size).toBe(
      4,
    );
    expect(keyOf(['x'], 0)).not.toBe(keyOf(['x'], -0));
  });

  test('refuse tensors that do not fit', () => {
    const x = ops.tensor(f64, [1, 2]);
    const program = ops.elementwiseProgram({ inputs: ['x', 'y'] }, (given) => ({
      z: add(given.x, given.y),
    }));
    const whole = ops.tensor(f64, Int32Array.of(1, 2), [2]);
    expect(codeOf(() => ops.mapElements(program, { x, y: ops.tensor(f64, [1]) }))).toBe('SHAPE_MISMATCH');
    expect(codeOf(() => ops.mapElements(program, { x, y: ops.tensor(f64, [1, 2], [2, 1]) }))).toBe(
      'SHAPE_MISMATCH',
    );
    expect(codeOf(() => ops.mapElements(program, { x, y: whole }))).toBe('DTYPE_MISMATCH');
    expect(codeOf(() => ops.mapElements(program, { x }))).toBe('INVALID_OPTION');
    const inputs = { x, g: x, m: x };
    expect(codeOf(() => ops.mapElements(momentum, inputs))).toBe('SHAPE_MISMATCH');
    const few = new ops.ProgramNumbers(ops.tensor(f64, [1]));
    expect(codeOf(() => ops.mapElements(momentum, inputs, few))).toBe('SHAPE_MISMATCH');
    expect(codeOf(() => new ops.ProgramNumbers(ops.tensor(f64, [1], [])))).toBe('SHAPE_MISMATCH');
    expect(codeOf(() => new ops.ProgramNumbers(whole))).toBe('SHAPE_MISMATCH');
  });

  test('refuse programs that cannot be written', () => {
    const build = (names: { inputs: readonly string[]; numbers?: readonly string[] }) => () =>
      ops.elementwiseProgram(names, (given) => ({ y: Object.values(given)[0] as ops.Expression }));
    for (const inputs of [[], ['x-y'], ['x', 'x'], ['numbers'], ['1']]) {
      expect(codeOf(build({ inputs }))).toBe('INVALID_OPTION');
    }
    expect(codeOf(build({ inputs: ['x'], numbers: ['x'] }))).toBe('INVALID_OPTION');
    expect(codeOf(build({ inputs: ['x'], numbers: ['a'] }))).toBe('nothing was thrown');
    const output = (make: (x: ops.Expression, a: ops.Expression) => ops.Expression) => () =>
      ops.elementwiseProgram({ inputs: ['x'], numbers: ['a'] }, ({ x, a }) => ({ y: make(x, a) }));
    expect(codeOf(output((_, a) => mul(a, 2)))).toBe('INVALID_OPTION');
    expect(codeOf(output((x) => mul(x, add(1, 2))))).toBe('INVALID_OPTION');
    expect(codeOf(output((x) => mul(x, exp(1))))).toBe('INVALID_OPTION');
    expect(codeOf(output((x) => mul(x, Number.POSITIVE_INFINITY)))).toBe('INVALID_OPTION');
    expect(codeOf(output((x) => add(x, 1e39)))).toBe('INVALID_OPTION');
    expect(codeOf(output((x) => choose(1, x, 2)))).toBe('INVALID_OPTION');
    expect(codeOf(output((x, a) => choose(a, x, 2)))).toBe('nothing was thrown');
    expect(codeOf(output((x, a) => mul(x, exp(a))))).toBe('nothing was thrown');
  });
});
