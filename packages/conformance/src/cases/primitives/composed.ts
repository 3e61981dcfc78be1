import * as ops from '@topk-attention/core';
import { type Backend, scope, type Tensor, tensor } from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { activated } from '../../harness/support/activated.js';
import { checkClose } from '../../harness/support/assert.js';
import { list, type Nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { encode } from '../../harness/support/workbench.js';

interface Composed {
  readonly inputs: readonly Nd[];
  readonly f: (backend: Backend, ...xs: Tensor[]) => Tensor;
  /** The definition in plain numbers, row by row. */
  readonly expected: (...xs: readonly (readonly number[])[]) => readonly number[];
}

const random = new Random('composed');
const WIDTH = 5;

/** Applies `f` to each row of the last axis. */
function rows(x: readonly number[], f: (row: readonly number[]) => readonly number[]): number[] {
  return Array.from({ length: x.length / WIDTH }, (_, i) => f(x.slice(i * WIDTH, (i + 1) * WIDTH))).flat();
}

function mean(xs: readonly number[]): number {
  return xs.reduce((sum, x) => sum + x, 0) / xs.length;
}

const points = list(-6, -2.5, -1, -0.25, 0, 0.25, 1, 2.5, 6);
const activation = (f: (x: Tensor) => Tensor, name: ops.Activation): Composed => ({
  inputs: [points],
  f: (_, x) => f(x),
  expected: (x = []) => x.map((one) => activated(name, one)[0]),
});

const table: Readonly<Record<string, Composed>> = {
  relu: activation(ops.relu, 'relu'),
  gelu: activation(ops.gelu, 'gelu'),
  geluTanh: activation(ops.geluTanh, 'gelu_tanh'),
  silu: activation(ops.silu, 'silu'),
  rmsNorm: {
    inputs: [random.uniform([2, 3, WIDTH]), random.uniform([WIDTH])],
    f: (_, x, weight) => ops.rmsNorm(x, weight, 1e-3),
    expected: (x = [], weight = []) =>
      rows(x, (row) => {
        const scale = 1 / Math.sqrt(mean(row.map((value) => value * value)) + 1e-3);
        return row.map((value, j) => value * scale * (weight[j] as number));
      }),
  },
  layerNorm: {
    inputs: [random.uniform([2, 3, WIDTH]), random.uniform([WIDTH]), random.uniform([WIDTH])],
    f: (_, x, weight, bias) => ops.layerNorm(x, weight, bias, 1e-3),
    expected: (x = [], weight = [], bias = []) =>
      rows(x, (row) => {
        const centre = mean(row);
        const scale = 1 / Math.sqrt(mean(row.map((value) => (value - centre) ** 2)) + 1e-3);
        return row.map((value, j) => (value - centre) * scale * (weight[j] as number) + (bias[j] as number));
      }),
  },
  'cross entropy, large logits, a row left out': {
    inputs: [{ shape: [3, WIDTH], data: random.uniform([3, WIDTH]).data.map((x) => 200 * x) }],
    f: (backend, logits) => ops.crossEntropy(logits, tensor(backend, Int32Array.of(4, -1, 0), [3])),
    expected: (x = []) => {
      const loss = (row: number, target: number): number => {
        const logits = x.slice(row * WIDTH, (row + 1) * WIDTH);
        const largest = Math.max(...logits);
        const total = logits.reduce((sum, value) => sum + Math.exp(value - largest), 0);
        return Math.log(total) + largest - (logits[target] as number);
      };
      return [(loss(0, 4) + loss(2, 0)) / 2];
    },
  },
};

/** What core composes besides attention, against its definition. */
export const composedCases: readonly ConformanceCase[] = Object.entries(table).map(([name, one]) => ({
  name: `composed ${name}`,
  group: 'primitives',
  async run({ backend, tolerance }) {
    const y = scope(() =>
      one.f(backend, ...one.inputs.map((x) => tensor(backend, encode(x.data, 'f32'), x.shape))),
    );
    const values = await y.data();
    y.dispose();
    checkClose(name, values, one.expected(...one.inputs.map((x) => x.data)), tolerance);
  },
}));
