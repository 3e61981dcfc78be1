import * as ops from '@topk-attention/core';
import { type ConformanceCase, needsHalves } from '../../harness/case.js';
import { activated } from '../../harness/support/activated.js';
import { check, checkClose, checkSameBits, checkShape } from '../../harness/support/assert.js';
import { type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { decode, encode } from '../../harness/support/workbench.js';

function halfCase(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `products of f16: ${name}`, group: 'primitives', notFor: needsHalves, run };
}

/** Rounded to f16, as numbers. */
const rounded = ({ shape, data }: Nd): Nd => ({ shape, data: decode(encode(data, 'f16'), 'f16') });

const upload = (backend: ops.Backend, { shape, data }: Nd): ops.Tensor =>
  ops.tensor(backend, encode(data, 'f16'), shape, 'f16');

/** The first, but with its axes in the other order. */
const turned = ({ shape: [rows = 0, columns = 0], data }: Nd): Nd =>
  nd([columns, rows], ([j = 0, i = 0]) => data[i * columns + j] as number);

/**
 * What a sum of products of f16 may be off by: products are exact in f32; each of the K additions, in any order, rounds by
 * at most 2^-23 of the terms (matrix units cut off instead of rounding); the result is rounded to f16, whose least step is
 * 2^-24.
 */
const boundOf = (terms: number, sum: number, sumOfSizes: number): number =>
  terms * 2 ** -23 * sumOfSizes + 2 ** -11 * Math.abs(sum) + 2 ** -25;

interface Sums {
  readonly sum: number;
  readonly size: number;
}

/** In f64. */
function sumsOf(a: Nd, b: Nd, row: number, column: number): Sums {
  const [inner = 0, columns = 0] = b.shape;
  let [sum, size] = [0, 0];
  for (let i = 0; i < inner; i++) {
    const term = (a.data[row * inner + i] as number) * (b.data[i * columns + column] as number);
    sum += term;
    size += Math.abs(term);
  }
  return { sum, size };
}

const extents: readonly (readonly [rows: number, inner: number, columns: number])[] = [
  [1, 1, 1],
  [3, 40, 24],
  [64, 32, 64],
  [17, 33, 65],
  [72, 88, 136],
  [40, 600, 8],
  [130, 24, 34],
];

const productCases = extents.map(([rows, inner, columns]) =>
  halfCase(`${rows} x ${inner} x ${columns}, in each orientation`, async ({ backend }) => {
    const random = new Random(`half products ${rows} ${inner} ${columns}`);
    const a = rounded(random.uniform([rows, inner]));
    const b = rounded(random.uniform([inner, columns]));
    for (const transposeA of [false, true]) {
      for (const transposeB of [false, true]) {
        const [x, y] = [
          upload(backend, transposeA ? turned(a) : a),
          upload(backend, transposeB ? turned(b) : b),
        ];
        const [made, again] = [0, 1].map(() => ops.matmul(x, y, { transposeA, transposeB })) as [
          ops.Tensor,
          ops.Tensor,
        ];
        const what = `${transposeA ? 'a^T' : 'a'} ${transposeB ? 'b^T' : 'b'}`;
        check(made.dtype === 'f16', `${what}: a result of ${made.dtype}`);
        checkShape(what, made.shape, [rows, columns]);
        const bits = await made.data();
        checkSameBits(`${what}: twice`, bits, await again.data());
        for (const [at, got] of decode(bits, 'f16').entries()) {
          const { sum, size } = sumsOf(a, b, Math.floor(at / columns), at % columns);
          const bound = boundOf(inner, sum, size);
          check(Math.abs(got - sum) <= bound, `${what}: [${at}] is ${got}, not ${sum} within ${bound}`);
        }
        for (const one of [x, y, made, again]) one.dispose();
      }
    }
  }),
);

const activations = [undefined, 'relu', 'gelu', 'gelu_tanh', 'silu'] as const;

interface LinearSizes {
  readonly rows: number;
  readonly inputDim: number;
  readonly outputDim: number;
}

const linearCases = (
  [
    { rows: 5, inputDim: 24, outputDim: 20 },
    { rows: 40, inputDim: 33, outputDim: 68 },
    { rows: 72, inputDim: 64, outputDim: 136 },
    { rows: 24, inputDim: 16, outputDim: 10 },
  ] satisfies LinearSizes[]
).map(({ rows, inputDim, outputDim }) =>
  halfCase(`linear, ${rows} rows of ${inputDim} to ${outputDim}`, async ({ backend, tolerances }) => {
    for (const [at, activation] of activations.entries()) {
      const transposeWeight = at % 2 === 1;
      const hasBias = at !== 2;
      const random = new Random(`half linear ${rows} ${inputDim} ${outputDim} ${at}`);
      const [x, weight] = [
        rounded(random.uniform([rows, inputDim])),
        rounded(random.uniform([inputDim, outputDim])),
      ];
      const [bias, upstream] = [
        rounded(random.uniform([outputDim])),
        rounded(random.uniform([rows, outputDim])),
      ];
      const expected = { output: [] as number[], g: [] as number[] };
      for (let row = 0; row < rows; row++) {
        for (let column = 0; column < outputDim; column++) {
          const { sum } = sumsOf(x, weight, row, column);
          const value = sum + (hasBias ? (bias.data[column] as number) : 0);
          const [output, slope] = activation === undefined ? [value, 1] : activated(activation, value);
          expected.output.push(output);
          expected.g.push(slope * (upstream.data[row * outputDim + column] as number));
        }
      }
      const g = nd([rows, outputDim], (_, place) => expected.g[place] as number);
      const inputs: Readonly<Record<string, ops.Tensor>> = {
        x: upload(backend, x),
        weight: upload(backend, transposeWeight ? turned(weight) : weight),
        ...(hasBias && { bias: upload(backend, bias) }),
      };
      const apply = (given: typeof inputs): ops.Tensor =>
        ops.linear(given.x as ops.Tensor, given.weight as ops.Tensor, given.bias, {
          ...(activation && { activation }),
          transposeWeight,
        });
      const pulled = ops.pullback(apply, inputs);
      const given = upload(backend, upstream);
      const gradients = pulled.backward(given);
      const what = activation ?? 'no activation';
      const outputs = await pulled.output.data();
      checkClose(what, decode(outputs, 'f16'), expected.output, tolerances.f16);
      const alone = apply(inputs);
      checkSameBits(`${what}: with and without a tape`, outputs, await alone.data());
      /** Within f16's tolerance of the sum of sizes: what goes into the sums has been rounded to f16 before. */
      const near = async (
        name: string,
        one: ops.Tensor,
        left: Nd,
        right: Nd,
        isTurned = false,
      ): Promise<void> => {
        const [, columns = 0] = right.shape;
        const shape = [left.shape[0] as number, columns];
        const data = decode(await one.data(), one.dtype);
        const values = isTurned ? turned({ shape: [...shape].reverse(), data }).data : data;
        for (const [place, got] of values.entries()) {
          const { sum, size } = sumsOf(left, right, Math.floor(place / columns), place % columns);
          const bound = tolerances.f16.absolute + tolerances.f16.relative * size;
          check(
            Math.abs(got - sum) <= bound,
            `${what}: gradient of ${name}: ${got}, not ${sum} within ${bound}`,
          );
        }
      };
      await near('x', gradients.x as ops.Tensor, g, turned(weight));
      await near('weight', gradients.weight as ops.Tensor, turned(x), g, transposeWeight);
      if (hasBias) {
        const ones = nd([1, rows], () => 1);
        await near('bias', gradients.bias as ops.Tensor, ones, g);
      }
      const made = [
        ...Object.values(inputs),
        ...Object.values(gradients),
        alone,
        given,
        pulled.output,
        pulled,
      ];
      for (const one of made) one.dispose();
    }
  }),
);

export const halfProductCases: readonly ConformanceCase[] = [
  ...productCases,
  halfCase('batches, and one matrix for a batch', async ({ backend }) => {
    const random = new Random('half batches');
    const [a, b] = [rounded(random.uniform([3, 24, 16])), rounded(random.uniform([3, 16, 40]))];
    const part = ({ shape: [, rows = 0, columns = 0], data }: Nd, at: number): Nd => ({
      shape: [rows, columns],
      data: data.slice(at * rows * columns, (at + 1) * rows * columns),
    });
    const tensors = [upload(backend, a), upload(backend, b), upload(backend, part(b, 0))] as const;
    for (const [right, of] of [
      [tensors[1], (at: number) => part(b, at)],
      [tensors[2], () => part(b, 0)],
    ] as const) {
      const made = ops.matmul(tensors[0], right);
      for (const [place, got] of decode(await made.data(), 'f16').entries()) {
        const [at, row, column] = [Math.floor(place / 960), Math.floor(place / 40) % 24, place % 40];
        const { sum, size } = sumsOf(part(a, at), of(at), row, column);
        check(
          Math.abs(got - sum) <= boundOf(16, sum, size),
          `[${at}, ${row}, ${column}] is ${got}, not ${sum}`,
        );
      }
      made.dispose();
    }
    for (const one of tensors) one.dispose();
  }),
  halfCase('partial sums beyond f16 whose total is within', async ({ backend }) => {
    // Every term is 2^17: sums of two would be infinite in f16.
    for (const [rows, columns] of [
      [1, 8],
      [64, 64],
    ] as const) {
      const inner = 128;
      const a = upload(
        backend,
        nd([rows, inner], ([, i = 0]) => (i < inner / 2 ? 512 : -512)),
      );
      const b = upload(
        backend,
        nd([inner, columns], ([i = 0, j = 0]) => (i === 0 ? 256 + (j % 2) : 256)),
      );
      const made = ops.matmul(a, b);
      const wanted = Array.from({ length: rows * columns }, (_, at) => 512 * ((at % columns) % 2));
      check(
        decode(await made.data(), 'f16').every((one, at) => one === wanted[at]),
        `${rows} x ${inner} x ${columns}: sums are not of f32`,
      );
      for (const one of [a, b, made]) one.dispose();
    }
  }),
  halfCase('what f16 cannot hold is infinite, and NaN stays', async ({ backend }) => {
    for (const [rows, inner, columns] of [
      [2, 16, 8],
      [64, 64, 64],
    ] as const) {
      const a = upload(
        backend,
        nd([rows, inner], ([row = 0, i = 0]) => (row === 1 && i === 3 ? Number.NaN : row === 0 ? 256 : 1)),
      );
      const b = upload(
        backend,
        nd([inner, columns], ([, j = 0]) => (j === 0 ? 256 : j === 1 ? -256 : 1)),
      );
      const made = ops.matmul(a, b);
      const got = decode(await made.data(), 'f16');
      check(got[0] === Number.POSITIVE_INFINITY, `256 x 256 x ${inner} is ${got[0]}`);
      check(got[1] === Number.NEGATIVE_INFINITY, `-256 x 256 x ${inner} is ${got[1]}`);
      check(got[2] === 256 * inner, `256 x ${inner} is ${got[2]}`);
      check(Number.isNaN(got[columns + 2]), `a sum with NaN is ${got[columns + 2]}`);
      const { sums, norm } = ops.sumSquares([made]);
      check(!Number.isFinite((await norm.data())[0]), 'the norm hides what is not finite');
      for (const one of [a, b, made, sums, norm]) one.dispose();
    }
  }),
  halfCase('subnormal numbers', async ({ backend }) => {
    const a = upload(
      backend,
      nd([32, 16], ([, i = 0]) => (i === 0 ? 2 ** -24 : 0)),
    );
    const b = upload(
      backend,
      nd([16, 32], ([, j = 0]) => 1024 * (j + 1)),
    );
    const made = ops.matmul(a, b);
    const got = decode(await made.data(), 'f16');
    // A device may take subnormal numbers for 0.
    check(
      got.every((one, at) => one === 0 || one === 2 ** -14 * ((at % 32) + 1)),
      'products of a subnormal number',
    );
    for (const one of [a, b, made]) one.dispose();
  }),
  ...linearCases,
];
