import { pullback, tensor, toeplitzProduct } from '@topk-attention/core';
import { type ConformanceCase, needsHalves } from '../../../harness/case.js';
import {
  check,
  checkClose,
  checkEqual,
  checkSameBits,
  gradientTolerance,
  type Tolerance,
} from '../../../harness/support/assert.js';
import { encode } from '../../../harness/support/workbench.js';
import { drawToeplitz, run, solve, spoilt, type ToeplitzAnswer, type ToeplitzSizes } from './problem.js';

function rule(
  name: string,
  body: ConformanceCase['run'],
  notFor?: ConformanceCase['notFor'],
): ConformanceCase {
  return { name: `Toeplitz product: ${name}`, group: 'attention', run: body, ...(notFor && { notFor }) };
}

/** Lengths around powers of 2, and above what fits into workgroup memory. */
const sizes: readonly ToeplitzSizes[] = [
  { batch: 2, heads: 3, length: 1, columns: 3 },
  { batch: 2, heads: 3, length: 2, columns: 1 },
  { batch: 2, heads: 3, length: 3, columns: 2 },
  { batch: 1, heads: 2, length: 5, columns: 5 },
  { batch: 1, heads: 2, length: 64, columns: 21 },
  { batch: 3, heads: 2, length: 100, columns: 7 },
  { batch: 2, heads: 1, length: 1000, columns: 1 },
  { batch: 1, heads: 1, length: 3000, columns: 2 },
];
const small: ToeplitzSizes = { batch: 2, heads: 2, length: 9, columns: 4 };

const bad = (values: ArrayLike<number>): number[] =>
  Array.from(values, (one) => (Number.isFinite(one) ? 0 : 1));

function checkAnswer(got: ToeplitzAnswer, expected: ToeplitzAnswer, tolerance: Tolerance): void {
  checkClose('output', got.output, expected.output, tolerance);
  for (const role of ['factors', 'x'] as const) {
    const wanted = expected.gradients[role] ?? [];
    checkClose(`gradient of ${role}`, got.gradients[role] ?? [], wanted, gradientTolerance(tolerance));
  }
}

export const toeplitzProductCases: readonly ConformanceCase[] = [
  ...sizes.map((one) =>
    rule(
      `as the sums of all pairs: B ${one.batch}, H ${one.heads}, n ${one.length}, C ${one.columns}`,
      async ({ backend, tolerance }) => {
        const problem = drawToeplitz(one);
        const expected = solve(problem);
        checkClose('output', (await run(backend, problem, false)).output, expected.output, tolerance);
        checkAnswer(await run(backend, problem, true), expected, tolerance);
      },
    ),
  ),
  rule(
    'f16, forward and gradients',
    async ({ backend, tolerances }) => {
      for (const length of [5, 64]) {
        const problem = drawToeplitz({ batch: 2, heads: 2, length, columns: 3 });
        checkAnswer(await run(backend, problem, true, 'f16'), solve(problem), tolerances.f16);
      }
    },
    needsHalves,
  ),
  rule('a bad entry reaches all rows of its column, no other head and no other sequence', async (context) => {
    const { backend, tolerance } = context;
    const problem = drawToeplitz(small);
    const expected = solve(problem);
    const { length, columns, heads } = small;
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const got = await run(backend, { ...problem, x: spoilt(problem.x, [1, 0, 4, 2], value) }, true);
      const group = heads * length * columns;
      const own = got.output.slice(group, group + length * columns).filter((_, at) => at % columns === 2);
      checkEqual(`rows of the column of ${value}`, bad(own), new Array(length).fill(1));
      const others = (all: readonly number[]): number[] =>
        all.filter((_, at) => Math.floor(at / (length * columns)) !== heads);
      checkClose(`beside ${value}`, others(got.output), others(expected.output), tolerance);
      const distances = 2 * length - 1;
      const factors = got.gradients.factors ?? [];
      checkEqual('gradients of its factors', bad(factors.slice(0, distances)), new Array(distances).fill(1));
      checkClose(
        'gradients of other factors',
        factors.slice(distances),
        (expected.gradients.factors ?? []).slice(distances),
        gradientTolerance(tolerance),
      );
    }
  }),
  rule('a bad factor reaches its head and no other', async ({ backend, tolerance }) => {
    const problem = drawToeplitz(small);
    const expected = solve(problem);
    const { length, columns, heads } = small;
    const isOwn = (at: number): boolean => Math.floor(at / (length * columns)) % heads === 1;
    for (const value of [Number.NaN, Number.NEGATIVE_INFINITY]) {
      const factors = spoilt(problem.factors, [1, 3], value);
      const { output, gradients } = await run(backend, { ...problem, factors }, true);
      for (const [what, got, wanted] of [
        ['output', output, expected.output],
        ['gradient of x', gradients.x ?? [], expected.gradients.x ?? []],
      ] as const) {
        const own = got.filter((_, at) => isOwn(at));
        checkEqual(`${what} of its head`, bad(own), new Array(own.length).fill(1));
        const others = (all: readonly number[]): number[] => all.filter((_, at) => !isOwn(at));
        checkClose(`${what} of the other head`, others(got), others(wanted), gradientTolerance(tolerance));
      }
    }
  }),
  rule('the same call gives the same bits', async ({ backend }) => {
    const { factors, x, cotangent } = drawToeplitz({ batch: 2, heads: 2, length: 40, columns: 3 });
    const up = ({ data, shape }: typeof x) => tensor(backend, encode(data, 'f32'), shape);
    const inputs = { factors: up(factors), x: up(x) };
    const upstream = up(cotangent);
    const bits = async () => {
      const pulled = pullback((p: typeof inputs) => toeplitzProduct(p.factors, p.x), inputs);
      const made = { ...pulled.backward(upstream), output: pulled.output };
      const read = await Promise.all([made.output, made.factors, made.x].map((one) => one.data()));
      for (const one of Object.values(made)) one.dispose();
      pulled.dispose();
      return read;
    };
    const [first, second] = [await bits(), await bits()];
    check(first.length === 3, 'an output and two gradients');
    for (const [at, one] of first.entries()) {
      checkSameBits(`result ${at}`, one, second[at] as typeof one);
    }
    for (const one of [...Object.values(inputs), upstream]) one.dispose();
  }),
];
