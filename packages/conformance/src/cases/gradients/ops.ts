import * as ops from '@topk-attention/core';
import { type Backend, pullback, scope, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { ConformanceCase } from '../../harness/case.js';
import { checkClose, gradientTolerance } from '../../harness/support/assert.js';
import { type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { encode } from '../../harness/support/workbench.js';

interface Differentiable {
  readonly inputs: readonly Nd[];
  readonly f: (backend: Backend, ...xs: Tensor[]) => Tensor;
}

const random = new Random('op gradients');
const any = (...shape: number[]): Nd => random.uniform(shape);
/** Away from 0, where some functions have no derivative. */
const positive = (...shape: number[]): Nd => nd(shape, () => 0.5 + random.integer(0, 1023) / 1024);
const apart = (...shape: number[]): Nd => {
  const order = random.permutation(shape.reduce((size, extent) => size * extent, 1));
  return nd(shape, (_, i) => ((order[i] as number) - order.length / 2 + 0.25) / 4);
};
const whole = (backend: Backend, shape: readonly number[], ...data: number[]): Tensor =>
  tensor(backend, Int32Array.from(data), shape);
const flags = (backend: Backend, shape: readonly number[], ...data: number[]): Tensor =>
  tensor(backend, Uint8Array.from(data), shape);

/** Every differentiable op, the functions composed of them, and ways of using one tensor more than once. */
const table: Readonly<Record<string, Differentiable>> = {
  neg: { inputs: [any(2, 3)], f: (_, x) => ops.neg(x) },
  abs: { inputs: [apart(2, 3)], f: (_, x) => ops.abs(x) },
  exp: { inputs: [any(2, 3)], f: (_, x) => ops.exp(x) },
  log: { inputs: [positive(2, 3)], f: (_, x) => ops.log(x) },
  sqrt: { inputs: [positive(2, 3)], f: (_, x) => ops.sqrt(x) },
  rsqrt: { inputs: [positive(2, 3)], f: (_, x) => ops.rsqrt(x) },
  tanh: { inputs: [any(2, 3)], f: (_, x) => ops.tanh(x) },
  erf: { inputs: [any(2, 3)], f: (_, x) => ops.erf(x) },
  sigmoid: { inputs: [any(2, 3)], f: (_, x) => ops.sigmoid(x) },
  'add, broadcast': { inputs: [any(2, 1, 3), any(4, 1)], f: (_, a, b) => ops.add(a, b) },
  'sub, a number from a tensor': { inputs: [any(2, 3)], f: (_, a) => ops.sub(1, a) },
  'mul, broadcast': { inputs: [any(2, 3), any(3)], f: (_, a, b) => ops.mul(a, b) },
  'mul, a tensor with itself': { inputs: [any(2, 3)], f: (_, a) => ops.mul(a, a) },
  'div, broadcast': { inputs: [any(2, 3), positive(2, 1)], f: (_, a, b) => ops.div(a, b) },
  min: { inputs: [apart(3, 3), any(3)], f: (_, a, b) => ops.min(a, b) },
  max: { inputs: [apart(3, 3), any(3)], f: (_, a, b) => ops.max(a, b) },
  where: {
    inputs: [any(2, 3), any(3)],
    f: (backend, a, b) => ops.where(flags(backend, [2, 1], 1, 0), a, b),
  },
  reshape: { inputs: [any(2, 6)], f: (_, x) => ops.mul(ops.reshape(x, [3, 4]), ops.reshape(x, [3, -1])) },
  transpose: { inputs: [any(2, 3, 4)], f: (_, x) => ops.transpose(x, [2, 0, 1]) },
  'slice, twice from one tensor': {
    inputs: [any(4, 5)],
    f: (_, x) => ops.mul(ops.slice(x, [1, 0], [2, 3]), ops.slice(x, [2, 2], [2, 3])),
  },
  concat: { inputs: [any(2, 3), any(2, 1)], f: (_, a, b) => ops.concat([a, b, a], 1) },
  'sum of some axes': { inputs: [any(2, 3, 4)], f: (_, x) => ops.sum(x, { axes: [0, 2] }) },
  'mean of all': { inputs: [any(2, 3)], f: (_, x) => ops.mean(x) },
  'max of an axis': { inputs: [apart(3, 5)], f: (_, x) => ops.maxOver(x, { axes: [1], keepDims: true }) },
  broadcastTo: { inputs: [any(2, 1)], f: (_, x) => ops.broadcastTo(x, [3, 2, 4]) },
  ...Object.fromEntries(
    [false, true].flatMap((transposeA) =>
      [false, true].map((transposeB) => [
        `matmul${transposeA ? ', a transposed' : ''}${transposeB ? ', b transposed' : ''}`,
        {
          inputs: [any(2, ...(transposeA ? [3, 4] : [4, 3])), any(2, ...(transposeB ? [5, 3] : [3, 5]))],
          f: (_: Backend, a: Tensor, b: Tensor) => ops.matmul(a, b, { transposeA, transposeB }),
        },
      ]),
    ),
  ),
  'matmul, b of rank 2': { inputs: [any(2, 4, 3), any(3, 5)], f: (_, a, b) => ops.matmul(a, b) },
  'matmul, a of rank 2': { inputs: [any(4, 3), any(2, 3, 5)], f: (_, a, b) => ops.matmul(a, b) },
  'matmul, b of rank 2, both transposed': {
    inputs: [any(2, 3, 4), any(5, 3)],
    f: (_, a, b) => ops.matmul(a, b, { transposeA: true, transposeB: true }),
  },
  'matmul, a of rank 2, both transposed': {
    inputs: [any(3, 4), any(2, 5, 3)],
    f: (_, a, b) => ops.matmul(a, b, { transposeA: true, transposeB: true }),
  },
  softmax: { inputs: [any(3, 4)], f: (_, x) => ops.softmax(x) },
  topK: { inputs: [apart(3, 6)], f: (_, x) => ops.topK(x, 2).values },
  takeAlong: {
    inputs: [any(2, 4)],
    f: (backend, x) => ops.takeAlong(x, whole(backend, [2, 3], 3, -1, 0, 1, 2, -1)),
  },
  putAlong: {
    inputs: [any(2, 3)],
    f: (backend, x) => ops.putAlong(whole(backend, [2, 3], 3, -1, 0, 1, 2, -1), x, 4),
  },
  gatherRows: {
    inputs: [any(2, 3, 2)],
    f: (backend, x) => ops.gatherRows(x, whole(backend, [2, 4], 2, 2, -1, 0, 1, 1, 1, -1)),
  },
  scatterAddRows: {
    inputs: [any(2, 4, 2)],
    f: (backend, x) => ops.scatterAddRows(3, whole(backend, [2, 4], 2, 2, -1, 0, 1, 1, 1, -1), x),
  },
  relu: { inputs: [apart(2, 5)], f: (_, x) => ops.relu(x) },
  gelu: { inputs: [any(2, 5)], f: (_, x) => ops.gelu(x) },
  geluTanh: { inputs: [any(2, 5)], f: (_, x) => ops.geluTanh(x) },
  silu: { inputs: [any(2, 5)], f: (_, x) => ops.silu(x) },
  rmsNorm: { inputs: [any(2, 3, 5), positive(5)], f: (_, x, weight) => ops.rmsNorm(x, weight) },
  layerNorm: {
    inputs: [any(2, 3, 5), positive(5), any(5)],
    f: (_, x, weight, bias) => ops.layerNorm(x, weight, bias),
  },
  dropout: { inputs: [any(3, 7)], f: (_, x) => ops.dropout(x, { rate: 0.4, seed: 5 }) },
  'cross entropy, a row left out': {
    inputs: [any(3, 5)],
    f: (backend, logits) => ops.crossEntropy(logits, whole(backend, [3], 4, -1, 0)),
  },
};

interface Outcome {
  readonly output: readonly number[];
  readonly gradients: readonly (readonly number[])[];
}

async function differentiate(backend: Backend, { inputs, f }: Differentiable): Promise<Outcome> {
  const xs = inputs.map((x) => tensor(backend, encode(x.data, 'f32'), x.shape));
  const pulled = pullback((parameters: readonly Tensor[]) => f(backend, ...parameters), xs);
  const weights = new Random('weights').uniform(pulled.output.shape);
  const upstream = tensor(backend, encode(weights.data, 'f32'), weights.shape);
  const made = pulled.backward(upstream);
  const output = [...(await pulled.output.data())];
  const gradients = await Promise.all(made.map(async (one) => [...(await one.data())]));
  for (const one of [...xs, ...made, upstream, pulled.output, pulled]) one.dispose();
  return { output, gradients };
}

async function valueOf(backend: Backend, { inputs, f }: Differentiable): Promise<readonly number[]> {
  const y = scope(() => f(backend, ...inputs.map((x) => tensor(backend, encode(x.data, 'f32'), x.shape))));
  const values = [...(await y.data())];
  y.dispose();
  return values;
}

/** Central differences of sum(weights * f) in f64 storage. */
async function differences(one: Differentiable): Promise<readonly (readonly number[])[]> {
  const backend = createReferenceBackend({ floatStorage: 'f64', fused: false });
  const step = 1e-5;
  const gradients: number[][] = [];
  for (const [which, x] of one.inputs.entries()) {
    const gradient: number[] = [];
    for (let i = 0; i < x.data.length; i++) {
      const loss = async (by: number): Promise<number> => {
        const moved = nd(x.shape, (_, at) => (x.data[at] as number) + (at === i ? by : 0));
        const values = await valueOf(backend, {
          ...one,
          inputs: one.inputs.map((y, at) => (at === which ? moved : y)),
        });
        const weights = new Random('weights').uniform([values.length]);
        return values.reduce((sum, value, at) => sum + value * (weights.data[at] as number), 0);
      };
      gradient.push(((await loss(step)) - (await loss(-step))) / (2 * step));
    }
    gradients.push(gradient);
  }
  return gradients;
}

/** Automatic differentiation of each op, against central differences made on the reference backend in f64. */
export const opGradientCases: readonly ConformanceCase[] = Object.entries(table).map(([name, one]) => ({
  name: `gradient of ${name}`,
  group: 'gradients',
  async run({ backend, tolerance }) {
    const expected = await differences(one);
    const { gradients } = await differentiate(backend, one);
    const { absolute, relative } = gradientTolerance(tolerance);
    // The differences themselves are accurate to about 1e-9.
    const allowed = { absolute: Math.max(absolute, 1e-8), relative: Math.max(relative, 1e-7) };
    expected.forEach((wanted, i) => {
      checkClose(`gradient of input ${i}`, gradients[i] ?? [], wanted, allowed);
    });
  },
}));
