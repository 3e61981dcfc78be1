import type { ConformanceCase } from '../../harness/case.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { primitiveCase } from './primitive-case.js';

const INF = Number.POSITIVE_INFINITY;

const reductions: readonly (readonly [shape: number[], axes: number[]])[] = [
  [[5], [0]],
  [[3, 4], [0]],
  [[3, 4], [1]],
  [
    [3, 4],
    [0, 1],
  ],
  [[2, 3, 4], [1]],
  [
    [2, 3, 4],
    [0, 2],
  ],
  [
    [2, 3, 2, 4],
    [1, 3],
  ],
  [
    [2, 3, 2, 4],
    [0, 1, 2, 3],
  ],
  [
    [2, 2, 3, 2, 2],
    [1, 2, 4],
  ],
  [[3, 1, 2], [1]],
  [[2, 1000], [1]],
  [[300, 70], [0]],
  [
    [20, 30, 7],
    [0, 1],
  ],
];

function reduced(
  x: Nd,
  axes: readonly number[],
  initial: number,
  fold: (a: number, b: number) => number,
): Nd {
  const shape = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
  const data = new Array<number>(shape.reduce((size, extent) => size * extent, 1)).fill(initial);
  nd(x.shape, (coordinates, position) => {
    const target = coordinates.reduce(
      (sum, coordinate, axis) => sum * (shape[axis] as number) + (axes.includes(axis) ? 0 : coordinate),
      0,
    );
    data[target] = fold(data[target] as number, x.data[position] as number);
    return 0;
  });
  return { shape, data };
}

/** Softmax of each row in plain f64, with the rule for empty rows. */
export function softmaxRows(x: Nd): Nd {
  const width = x.shape.at(-1) as number;
  const data = x.data.map((value, position) => {
    const start = position - (position % width);
    const row = x.data.slice(start, start + width);
    if (row.every((entry) => entry === -INF)) return 0;
    if (row.some((entry) => Number.isNaN(entry) || entry === INF)) return Number.NaN;
    const largest = Math.max(...row);
    return Math.exp(value - largest) / row.reduce((sum, entry) => sum + Math.exp(entry - largest), 0);
  });
  return { shape: x.shape, data };
}

export const reductionCases: readonly ConformanceCase[] = [
  ...reductions.map(([shape, axes]) =>
    primitiveCase(`sum and max of [${shape}] over [${axes}]`, async (bench) => {
      const x = new Random('reduce').integers(shape, -9, 9);
      const t = bench.upload(x);
      await bench.expect(
        bench.backend.sum(t, axes),
        reduced(x, axes, 0, (a, b) => a + b),
        { what: 'sum', exact: true },
      );
      await bench.expect(bench.backend.max(t, axes), reduced(x, axes, -INF, Math.max), {
        what: 'max',
        exact: true,
      });
    }),
  ),
  primitiveCase('sum of fractions', async (bench) => {
    const x = new Random('fractions').uniform([7, 513]);
    await bench.expect(
      bench.backend.sum(bench.upload(x), [1]),
      reduced(x, [1], 0, (a, b) => a + b),
    );
  }),
  primitiveCase('sum propagates NaN and infinities; inf - inf is NaN', async (bench) => {
    const x: Nd = { shape: [4, 2], data: [Number.NaN, 1, INF, 1, INF, -INF, -INF, -INF] };
    const expected: Nd = { shape: [4, 1], data: [Number.NaN, INF, Number.NaN, -INF] };
    await bench.expect(bench.backend.sum(bench.upload(x), [1]), expected, { exact: true });
  }),
  primitiveCase('max of negative numbers and infinities', async (bench) => {
    const x: Nd = { shape: [4, 2], data: [-3, -2, -INF, -5, -INF, -INF, INF, 0] };
    await bench.expect(
      bench.backend.max(bench.upload(x), [1]),
      { shape: [4, 1], data: [-2, -5, -INF, INF] },
      { exact: true },
    );
  }),
  primitiveCase('empty extents: sum is 0, max is -inf', async (bench) => {
    const empty = bench.upload(nd([2, 0], () => 0));
    await bench.expect(bench.backend.sum(empty, [1]), { shape: [2, 1], data: [0, 0] }, { exact: true });
    await bench.expect(bench.backend.max(empty, [1]), { shape: [2, 1], data: [-INF, -INF] }, { exact: true });
  }),
  primitiveCase('sum of i32 keeps every bit', async (bench) => {
    const x: Nd = { shape: [2, 3], data: [2 ** 24, 1, 1, -(2 ** 24), -1, -2] };
    const expected: Nd = { shape: [2, 1], data: [2 ** 24 + 2, -(2 ** 24) - 3] };
    await bench.expect(bench.backend.sum(bench.upload(x, 'i32'), [1]), expected, { dtype: 'i32' });
  }),
  ...([[4], [3, 5], [2, 3, 4], [2, 2, 3, 7], [1, 2, 2, 2, 3], [5, 1], [2, 1000]] as const).map((shape) =>
    primitiveCase(`softmax of [${shape}]`, async (bench) => {
      const x = new Random('softmax').uniform(shape);
      const wide: Nd = { shape, data: x.data.map((value) => 16 * value) };
      await bench.expect(bench.backend.softmax(bench.upload(x)), softmaxRows(x));
      await bench.expect(bench.backend.softmax(bench.upload(wide)), softmaxRows(wide), {
        what: 'wide range',
      });
    }),
  ),
  primitiveCase('softmax subtracts the maximum', async (bench) => {
    const x: Nd = { shape: [3, 3], data: [1e30, 1e30, 0, -1e30, -1e30, -1e30, 500, 499, -500] };
    await bench.expect(bench.backend.softmax(bench.upload(x)), softmaxRows(x));
  }),
  primitiveCase('softmax beside -inf', async (bench) => {
    const x: Nd = { shape: [2, 3], data: [-INF, 1, 2, -INF, -INF, -1e30] };
    await bench.expect(bench.backend.softmax(bench.upload(x)), softmaxRows(x));
  }),
  primitiveCase(
    'f16: sum and softmax',
    async (bench) => {
      const x = new Random('f16 softmax').uniform([3, 40]);
      await bench.expect(bench.backend.softmax(bench.upload(x, 'f16')), softmaxRows(x), { dtype: 'f16' });
      const total = reduced(x, [1], 0, (a, b) => a + b);
      await bench.expect(bench.backend.sum(bench.upload(x, 'f16'), [1]), total, { dtype: 'f16' });
    },
    { f16: true },
  ),
  primitiveCase('a view is reduced in its own order', async (bench) => {
    const x = nd([2, 3], (_, i) => i);
    const turned = bench.own(bench.backend.transpose(bench.upload(x), [1, 0]));
    await bench.expect(bench.backend.sum(turned, [1]), { shape: [3, 1], data: [3, 5, 7] }, { exact: true });
    await bench.expect(bench.backend.max(bench.upload(list(3, 9, 4)), [0]), list(9), { exact: true });
  }),
];
