import { describe, expect, test } from 'vitest';
import * as ops from '../src/index.js';
import { createReferenceBackend } from '../src/reference/index.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const numbers = (size: number, seed: number): Float64Array =>
  Float64Array.from({ length: size }, (_, i) => Math.sin(1.7 * i + 12.9898 * seed) * 1.3 + 0.05);
const make = (shape: readonly number[], seed: number): ops.Tensor =>
  ops.tensor(backend, numbers(ops.sizeOf(shape), seed), shape);

/** Central differences of sum(f(x) * w) against the pullback, for every element of every input. */
async function checkGradient(f: (...xs: ops.Tensor[]) => ops.Tensor, shapes: readonly (readonly number[])[]) {
  const data = shapes.map((shape, at) => numbers(ops.sizeOf(shape), at + 1));
  const tensors = data.map((values, at) => ops.tensor(backend, values, shapes[at] as number[]));
  const pulled = ops.pullback((xs: readonly ops.Tensor[]) => f(...xs), tensors);
  const weights = make(pulled.output.shape, 99);
  const gradients = pulled.backward(weights);
  const objective = async (changed: number, values: Float64Array): Promise<number> => {
    const inputs = data.map((own, at) =>
      ops.tensor(backend, at === changed ? values : own, shapes[at] as number[]),
    );
    const total = ops.sum(ops.mul(f(...inputs), weights));
    return (await total.data())[0] as number;
  };
  for (const [at, own] of data.entries()) {
    const analytic = await (gradients[at] as ops.Tensor).data();
    for (let element = 0; element < own.length; element++) {
      const h = 1e-5;
      const shifted = (by: number): Float64Array => own.map((x, i) => (i === element ? x + by : x));
      const numeric = ((await objective(at, shifted(h))) - (await objective(at, shifted(-h)))) / (2 * h);
      expect(Math.abs(numeric - (analytic[element] as number))).toBeLessThan(1e-7 * (1 + Math.abs(numeric)));
    }
  }
}

const i32 = (values: number[], shape: number[]): ops.Tensor =>
  ops.tensor(backend, Int32Array.from(values), shape);

describe('gradients of primitives agree with central differences', () => {
  const cases: Record<string, [(...xs: ops.Tensor[]) => ops.Tensor, number[][]]> = {
    'add, broadcasting': [(a, b) => ops.add(a, b), [[2, 3], [3]]],
    'sub, broadcasting': [
      (a, b) => ops.sub(a, b),
      [
        [2, 1],
        [2, 3],
      ],
    ],
    'mul by itself': [(a) => ops.mul(a, a), [[4]]],
    div: [
      (a, b) => ops.div(a, b),
      [
        [2, 3],
        [1, 3],
      ],
    ],
    min: [(a, b) => ops.min(a, b), [[5], [5]]],
    max: [(a, b) => ops.max(a, b), [[5], [5]]],
    'neg and abs': [(a) => ops.neg(ops.abs(a)), [[5]]],
    exp: [(a) => ops.exp(a), [[4]]],
    'log and sqrt of a square': [(a) => ops.add(ops.log(ops.mul(a, a)), ops.sqrt(ops.mul(a, a))), [[4]]],
    rsqrt: [(a) => ops.rsqrt(ops.add(ops.mul(a, a), 1)), [[4]]],
    'tanh, erf, sigmoid': [(a) => ops.add(ops.tanh(a), ops.mul(ops.erf(a), ops.sigmoid(a))), [[4]]],
    where: [(a, b) => ops.where(ops.lt(a, b), a, ops.mul(b, 3)), [[2, 3], [3]]],
    'sum over axes': [(a) => ops.sum(a, { axes: [0, 2] }), [[2, 3, 2]]],
    'max over an axis': [(a) => ops.maxOver(a, { axes: [1] }), [[3, 4]]],
    mean: [(a) => ops.mean(a, { axes: [-1], keepDims: true }), [[2, 5]]],
    'reshape, transpose': [(a) => ops.transpose(ops.reshape(a, [3, 2, 2]), [2, 0, 1]), [[2, 6]]],
    'slice, concat': [
      (a, b) => ops.concat([ops.slice(a, [0, 1], [2, 2]), b], 1),
      [
        [2, 4],
        [2, 3],
      ],
    ],
    writeInto: [
      (a, b) => ops.writeInto(ops.mul(a, 2), b, [1, 0]),
      [
        [3, 2],
        [1, 2],
      ],
    ],
    'matmul, matrices': [
      (a, b) => ops.matmul(a, b),
      [
        [2, 3],
        [3, 4],
      ],
    ],
    'matmul, transposed': [
      (a, b) => ops.matmul(a, b, { transposeA: true, transposeB: true }),
      [
        [3, 2],
        [4, 3],
      ],
    ],
    'matmul, batched': [
      (a, b) => ops.matmul(a, b, { transposeB: true }),
      [
        [2, 2, 3],
        [2, 4, 3],
      ],
    ],
    'matmul, matrix on the right': [
      (a, b) => ops.matmul(a, b, { transposeB: true }),
      [
        [2, 2, 3],
        [4, 3],
      ],
    ],
    'matmul, matrix on the left': [
      (a, b) => ops.matmul(a, b),
      [
        [2, 3],
        [2, 3, 2],
      ],
    ],
    'matmul, transposed batch and matrix': [
      (a, b) => ops.matmul(a, b, { transposeA: true }),
      [
        [2, 3, 2],
        [3, 4],
      ],
    ],
    softmax: [(a) => ops.softmax(a), [[2, 4]]],
    'topK values': [(a) => ops.topK(a, 2).values, [[3, 5]]],
    takeAlong: [(a) => ops.takeAlong(a, i32([2, 0, -1, 1], [2, 2])), [[2, 3]]],
    putAlong: [(a) => ops.putAlong(i32([3, 0, -1, 1], [2, 2]), a, 4), [[2, 2]]],
    'gatherRows with repeats': [(a) => ops.gatherRows(a, i32([1, 1, -1, 0], [1, 4])), [[1, 2, 3]]],
    scatterAddRows: [(a) => ops.scatterAddRows(3, i32([2, 2, -1, 0], [1, 4]), a), [[1, 4, 2]]],
    rmsNorm: [(a, w) => ops.rmsNorm(a, w), [[2, 4], [4]]],
    layerNorm: [(a, w, b) => ops.layerNorm(a, w, b), [[2, 4], [4], [4]]],
    'relu, gelu, gelu_tanh, silu': [
      (a) => ops.add(ops.add(ops.relu(a), ops.gelu(a)), ops.add(ops.geluTanh(a), ops.silu(a))),
      [[6]],
    ],
    crossEntropy: [(a) => ops.crossEntropy(a, i32([2, -1, 0], [3])), [[3, 4]]],
  };
  for (const [name, [f, shapes]] of Object.entries(cases)) test(name, () => checkGradient(f, shapes));
});

describe('tapes', () => {
  test('second derivatives: d2/dx2 sum(x^3) = 6 x', async () => {
    const cube = (x: ops.Tensor): ops.Tensor => ops.sum(ops.mul(x, ops.mul(x, x)));
    const x = ops.tensor(backend, [1, -2, 3]);
    const second = ops.grad((y: ops.Tensor) => ops.sum(ops.grad(cube)(y)))(x);
    expect([...(await second.data())]).toEqual([6, -12, 18]);
  });

  test('gradients come in the form of the parameters, zeros where nothing depends on one', async () => {
    const parameters = {
      layer: [ops.tensor(backend, [2]), ops.tensor(backend, [5, 6])],
      unused: ops.tensor(backend, [7]),
    };
    const { value, gradients } = ops.valueAndGrad((p: typeof parameters) =>
      ops.sum(ops.mul(p.layer[0] as ops.Tensor, p.layer[1] as ops.Tensor)),
    )(parameters);
    expect((await value.data())[0]).toBe(22);
    expect([...(await (gradients.layer[0] as ops.Tensor).data())]).toEqual([11]);
    expect([...(await (gradients.layer[1] as ops.Tensor).data())]).toEqual([2, 2]);
    expect([...(await gradients.unused.data())]).toEqual([0]);
  });

  test('a tape keeps what it needs after the caller disposed of it, and frees it in the end', async () => {
    const own = createReferenceBackend();
    const x = ops.tensor(own, [1, 2, 3]);
    const before = own.memory().live;
    const pulled = ops.pullback((a: ops.Tensor) => ops.exp(ops.mul(a, a)), x);
    const gradient = ops.scope(() => pulled.backward(ops.fill(own, 1, [3])));
    expect((await gradient.data())[0]).toBeCloseTo(2 * Math.E, 5);
    for (const one of [gradient, pulled.output]) one.dispose();
    pulled.dispose();
    expect(own.memory().live).toBe(before);
  });

  test('a loss that is no scalar is an error', () => {
    const x = ops.tensor(backend, [1, 2]);
    expect(() => ops.grad((a: ops.Tensor) => ops.mul(a, 2))(x)).toThrow(/does not return a scalar/);
  });
});
