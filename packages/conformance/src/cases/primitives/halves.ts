import * as ops from '@topk-attention/core';
import { type ConformanceCase, needsHalves } from '../../harness/case.js';
import { check, checkClose } from '../../harness/support/assert.js';
import { Random } from '../../harness/support/random.js';
import { decode, encode } from '../../harness/support/workbench.js';

type Tree = { readonly x: ops.Tensor; readonly weight: ops.Tensor };

/** Of x: what f16 holds the square of, and what it does not. */
const MAGNITUDES = [3, 400];
const ROWS = 5;
const WIDTH = 12;

const functions: { readonly [name: string]: (tree: Tree) => ops.Tensor } = {
  layerNorm: ({ x, weight }) => ops.layerNorm(x, weight, weight),
  rmsNorm: ({ x, weight }) => ops.rmsNorm(x, weight),
  gelu: ({ x }) => ops.gelu(x),
  geluTanh: ({ x }) => ops.geluTanh(x),
  silu: ({ x }) => ops.silu(x),
  'crossEntropy, whose loss is f32': ({ x }) =>
    ops.scope(() => {
      const targets = ops.tensor(
        x.backend,
        Int32Array.from({ length: ROWS }, (_, i) => 2 * i - 1),
        [ROWS],
        'i32',
      );
      const loss = ops.crossEntropy(x, targets);
      check(loss.dtype === 'f32', `the loss is ${loss.dtype}`);
      return loss;
    }),
};

/** Functions of f16 tensors that compute in f32: what mixed precision relies on. */
export const halfFunctionCases: readonly ConformanceCase[] = Object.entries(functions).map(([name, f]) => ({
  name: `functions of f16 tensors are those of f32, rounded at the end: ${name}`,
  group: 'primitives',
  notFor: needsHalves,
  run: async ({ backend, tolerances }) => {
    const random = new Random(name);
    const drawn = random.uniform([ROWS, WIDTH]).data;
    const weight = encode(random.uniform([WIDTH]).data, 'f16');
    const upstream = encode(random.uniform([ROWS, WIDTH]).data, 'f16');
    const read = async (dtype: 'f16' | 'f32', magnitude: number): Promise<number[][]> => {
      const x = encode(
        drawn.map((one) => magnitude * one),
        'f16',
      );
      const made = ops.scope(() => {
        const from = (data: ops.TensorData, shape: ops.Shape): ops.Tensor =>
          ops.cast(ops.tensor(backend, data, shape, 'f16'), dtype);
        const tree = { x: from(x, [ROWS, WIDTH]), weight: from(weight, [WIDTH]) };
        const g = from(upstream, [ROWS, WIDTH]);
        const { value, gradients } = ops.valueAndGrad((own: Tree) => {
          const y = f(own);
          return y.rank === 0 ? y : ops.sum(ops.cast(ops.mul(y, g), 'f32'));
        })(tree);
        check(gradients.x.dtype === dtype, `a gradient of ${gradients.x.dtype}`);
        const output = f(tree);
        return [value, output, gradients.x, gradients.weight];
      });
      const values = await Promise.all(made.map(async (one) => decode(await one.data(), one.dtype)));
      for (const one of made) one.dispose();
      return values;
    };
    for (const magnitude of MAGNITUDES) {
      const [halves, wide] = [await read('f16', magnitude), await read('f32', magnitude)];
      for (const [at, what] of ['the output', 'the gradient of x', 'the gradient of weight'].entries()) {
        const named = `up to ${magnitude}: ${what}`;
        checkClose(named, halves[at + 1] as number[], wide[at + 1] as number[], tolerances.f16);
      }
    }
  },
}));
