import type { Activation } from '@topk-attention/core';
import type { LinearRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect, test } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import { linearLayers } from '../../src/primitives/linear.js';
import { launchProduct, type MatmulVariant } from '../../src/primitives/matmul-choose.js';
import type { Operand } from '../../src/primitives/matmul-product.js';
import { wholeOf } from '../../src/runtime/binding.js';
import type { View } from '../../src/runtime/view.js';
import { Storage, WebGpuTensor } from '../../src/tensor.js';
import { distance, Harness, integers } from '../support/primitives-harness.js';
import { kernelsOf, PLAIN } from '../support/recording.js';

let shared: Promise<Harness> | undefined;
afterAll(async () => (await shared)?.close());

const tile = { rows: 32, columns: 32, depth: 8, microRows: 4, microColumns: 4, speed: 1 } as const;

/** Variants with shapes that reach their vectors, their single numbers and their sums in parts. */
const products: readonly (readonly [MatmulVariant, readonly [m: number, k: number, n: number]])[] = [
  ['plain', [5, 7, 6]],
  ['narrow', [3, 40, 20]],
  ['narrow', [3, 33, 19]],
  ['narrow', [2, 600, 20]],
  ['narrow', [2, 2112, 20]],
  [tile, [64, 16, 96]],
  [tile, [33, 17, 31]],
  [tile, [33, 700, 31]],
  [tile, [36, 600, 68]],
];

const names = [undefined, 'relu', 'gelu', 'gelu_tanh', 'silu'] as const;

/** Values at whole numbers, by hand: x Phi(x) and the like, to six digits. */
const values: Readonly<Record<Activation, (x: number) => number>> = {
  relu: (x) => Math.max(x, 0),
  gelu: (x) => [-0.158655, 0, 0.841345][x + 1] ?? Math.max(x, 0),
  gelu_tanh: (x) => [-0.158808, 0, 0.841192][x + 1] ?? Math.max(x, 0),
  silu: (x) => x / (1 + Math.exp(-x)),
};

optional(
  'products with a bias, an activation and a copy of what goes into it',
  softwareGpuAvailability(),
  async () => {
    shared ??= Harness.create();
    const harness = await shared;
    for (const [at, [variant, [m, k, n]]] of products.entries()) {
      // One form for each shader: they take a second each to compile.
      const activation = names[at % names.length];
      const transposeB = at % 2 === 1;
      const a = harness.upload(integers(m * k, -1, 1, 1), [m, k]);
      const b = harness.upload(integers(k * n, -1, 1, 2), transposeB ? [n, k] : [k, n]);
      const bias = harness.upload(integers(n, -5, 5, 3), [n]);
      const [out, kept] = [harness.empty([m, n]), harness.empty([m, n])];
      const operand = (of: View, stride: number): Operand => ({
        span: of.span,
        base: 0,
        batchStep: 0,
        stride,
      });
      launchProduct(
        harness.stream,
        {
          ...{ dtype: 'f32', transposeA: false, transposeB, batch: 1, rows: m, inner: k, columns: n },
          ...{ a: operand(a.view, k), b: operand(b.view, transposeB ? k : n), out: operand(out, n) },
          epilogue: { bias: wholeOf(bias.view.span), activation, preactivations: kept.span },
        },
        variant,
      );
      const product = await harness.expected(
        harness.reference.matmul(a.reference, b.reference, false, transposeB),
      );
      const added = await harness.expected(bias.reference);
      const sums = product.map((one, i) => one + (added[i % n] as number));
      const what = `${m} x ${k} x ${n}, ${activation}`;
      expect(await harness.read(kept), what).toEqual(sums);
      const expected = activation === undefined ? sums : sums.map(values[activation]);
      // Beyond 1 the table of gelu is coarse.
      const got = await harness.read(out);
      expect(distance(got, expected), what).toBeLessThan(activation?.startsWith('gelu') ? 0.05 : 1e-5);
      if (activation?.startsWith('gelu')) {
        const near = sums.map((one, i) => (Math.abs(one) <= 1 ? (got[i] as number) : 0));
        const wanted = sums.map((one, i) => (Math.abs(one) <= 1 ? (expected[i] as number) : 0));
        expect(distance(near, wanted), what).toBeLessThan(2e-6);
      }
    }
  },
);

const request: LinearRequest = {
  ...{ rows: 512, inputDim: 64, outputDim: 128, dtype: 'f32', transposeWeight: true, hasBias: true },
  ...{ activation: 'gelu', keepsPreactivations: true },
};

/** Kernels of a call, or the reasons against it. */
function asked(changes: Partial<LinearRequest>, facts = PLAIN): readonly string[] {
  const own = { ...request, ...changes };
  let refusals: readonly string[] = [];
  const kernels = kernelsOf(facts, (stream, view) => {
    const tensor = (shape: readonly number[]): WebGpuTensor => {
      const { span, dtype } = view(shape);
      return new WebGpuTensor(new Storage(span, span.size), shape, dtype);
    };
    const prepared = linearLayers(stream, facts, tensor).prepare(own, limitsOf(facts));
    if ('refusals' in prepared) {
      refusals = prepared.refusals;
      return;
    }
    const weight = tensor([own.outputDim, own.inputDim]);
    prepared.run({ x: tensor([own.rows, own.inputDim]), weight, bias: tensor([own.outputDim]) }, 1);
  });
  return refusals.length > 0 ? refusals : [...kernels.keys()];
}

test('a linear layer is one launch', () => {
  const kernels = asked({});
  expect(kernels).toHaveLength(1);
  expect(kernels[0]).toMatch(/^matmul tiled .* bias gelu keeps$/);
});

test('what runs composed', () => {
  expect(asked({ dtype: 'i32' })).toEqual(['i32: made for f32 and f16']);
  expect(asked({ dtype: 'f16', outputDim: 10 })).toEqual(['f16: outputs are written by fours']);
  expect(asked({ dtype: 'f16', rows: 8 })).toEqual([
    'f16: products of few rows with a transposed weight write single outputs',
  ]);
  expect(asked({ inputDim: 0 })).toEqual(['no inputs: there is no product']);
  expect(asked({ outputDim: 1 })).toEqual(['one output: its product runs as one of a single row']);
  expect(asked({}, { ...PLAIN, bindingBytes: 1000 })).toEqual(['a tensor exceeds a binding of 1000 bytes']);
});
