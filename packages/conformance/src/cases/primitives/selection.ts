import type { ConformanceCase } from '../../harness/case.js';
import { at, list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import type { Workbench } from '../../harness/support/workbench.js';
import { primitiveCase } from './primitive-case.js';

const INF = Number.POSITIVE_INFINITY;

/** By definition: repeatedly take the largest entry left, the first one among equals. */
export function topKRows(x: Nd, k: number): { values: Nd; indices: Nd } {
  const width = x.shape.at(-1) as number;
  const shape = [...x.shape.slice(0, -1), k];
  const values: number[] = [];
  const indices: number[] = [];
  for (let start = 0; start < x.data.length; start += width) {
    const row = x.data.slice(start, start + width);
    const kept = new Set<number>();
    for (let slot = 0; slot < k; slot++) {
      let best = -1;
      for (let j = 0; j < width; j++) {
        if (kept.has(j) || row[j] === -INF) continue;
        if (best < 0 || (row[j] as number) > (row[best] as number)) best = j;
      }
      if (best >= 0) kept.add(best);
    }
    const ascending = [...kept].sort((a, b) => a - b);
    for (let slot = 0; slot < k; slot++) {
      const j = ascending[slot];
      indices.push(j ?? -1);
      values.push(j === undefined ? -INF : (row[j] as number));
    }
  }
  return { values: { shape, data: values }, indices: { shape, data: indices } };
}

async function expectTopK(bench: Workbench, x: Nd, k: number, what = ''): Promise<void> {
  const expected = topKRows(x, k);
  const got = bench.backend.topK(bench.upload(x), k);
  bench.own(got.values);
  // Indices first: when both are wrong, they explain more.
  await bench.expect(got.indices, expected.indices, { what: `indices${what}`, dtype: 'i32' });
  const values = await bench.read(got.values);
  await bench.expect(bench.upload({ shape: expected.values.shape, data: values }), expected.values, {
    what: `values${what}`,
    exact: true,
  });
}

const rows: Readonly<Record<string, readonly number[]>> = {
  ascending: [1, 2, 3, 4, 5, 6, 7, 8],
  descending: [8, 7, 6, 5, 4, 3, 2, 1],
  'all equal': [3, 3, 3, 3, 3, 3, 3, 3],
  'ties at the boundary': [5, 2, 5, 1, 2, 5, 2, 2],
  'one huge': [0, 0, 0, 2 ** 127, 0, 0, 0, 0],
  '-inf among them': [-INF, 4, -INF, -INF, 9, -INF, 4, -INF],
  'all -inf': [-INF, -INF, -INF, -INF, -INF, -INF, -INF, -INF],
  '+inf twice': [1, INF, 2, -1, INF, 0, 3, -INF],
  negative: [-1, -5, -2, -2, -9, -(2 ** 127), -2, -0.5],
  'differences of one bit': [1, 1 + 2 ** -23, 1 - 2 ** -24, 1, 1 + 2 ** -23, 1, 1 + 2 ** -22, 1],
  'zeros of both signs': [0, -0, 0, -0, -0, 0, 0, -0],
};

const rowCases = Object.entries(rows).map(([name, row]) =>
  primitiveCase(`topK of a row: ${name}, k 1 to 8`, async (bench) => {
    for (let k = 1; k <= 8; k++) await expectTopK(bench, list(...row), k, `, k = ${k}`);
  }),
);

export const selectionCases: readonly ConformanceCase[] = [
  ...rowCases,
  ...(
    [
      [[1], 1],
      [[4, 1], 1],
      [[3, 9], 4],
      [[2, 3, 10], 3],
      [[2, 2, 3, 17], 5],
      [[1, 2, 2, 2, 6], 6],
      [[3, 300], 16],
      [[2, 1031], 64],
    ] as const
  ).map(([shape, k]) =>
    primitiveCase(`topK of [${shape}], k ${k}: distinct numbers, and few distinct numbers`, async (bench) => {
      const random = new Random('topK');
      const width = shape.at(-1) as number;
      const distinct = nd(shape, () => 0).data.length / width;
      const data = Array.from({ length: distinct }, () => random.permutation(width)).flat();
      await expectTopK(bench, { shape, data: data.map((value) => value - 2) }, k, ', distinct');
      await expectTopK(bench, random.integers(shape, -2, 2), k, ', many ties');
    }),
  ),
  primitiveCase('topK where the largest block maxima tie: 600 numbers of 3 values', async (bench) => {
    const random = new Random('blocks');
    await expectTopK(bench, random.integers([4, 600], 0, 2), 20);
    const sparse = nd([2, 600], ([, j = 0]) => (j % 64 === 63 ? 1 : 0));
    await expectTopK(bench, sparse, 12, ', one per block');
  }),
  ...(
    [
      [[6], [4]],
      [
        [2, 5],
        [2, 3],
      ],
      [
        [2, 3, 5],
        [2, 3, 2],
      ],
      [
        [2, 2, 2, 7],
        [2, 2, 2, 4],
      ],
      [
        [1, 2, 1, 2, 4],
        [1, 2, 1, 2, 6],
      ],
    ] as const
  ).map(([shape, at_]) =>
    primitiveCase(`takeAlong [${shape}] at [${at_}], with -1`, async (bench) => {
      const random = new Random('takeAlong');
      const x = random.uniform(shape);
      const width = shape.at(-1) as number;
      const indices = random.integers(at_, -1, width - 1);
      const expected = nd(at_, (c, position) => {
        const j = indices.data[position] as number;
        return j < 0 ? 0 : at(x, [...c.slice(0, -1), j]);
      });
      await bench.expect(bench.backend.takeAlong(bench.upload(x), bench.upload(indices, 'i32')), expected, {
        exact: true,
      });
    }),
  ),
  primitiveCase('takeAlong of i32', async (bench) => {
    const x: Nd = { shape: [2, 2], data: [2 ** 24 + 1, 5, 7, -(2 ** 24) - 3] };
    const indices: Nd = { shape: [2, 3], data: [0, -1, 1, 1, 1, 0] };
    const taken = bench.backend.takeAlong(bench.upload(x, 'i32'), bench.upload(indices, 'i32'));
    await bench.expect(
      taken,
      { shape: [2, 3], data: [2 ** 24 + 1, 0, 5, -(2 ** 24) - 3, -(2 ** 24) - 3, 7] },
      { dtype: 'i32' },
    );
  }),
  ...([[4], [3, 4], [2, 3, 4], [2, 2, 2, 3]] as const).map((shape) =>
    primitiveCase(`putAlong of [${shape}] into 9, with -1`, async (bench) => {
      const random = new Random('putAlong');
      const values = random.uniform(shape);
      const width = shape.at(-1) as number;
      const rowCount = values.data.length / width;
      const indices: Nd = {
        shape,
        data: Array.from({ length: rowCount }, () =>
          random
            .permutation(9)
            .slice(0, width)
            .map((j) => (j > 6 ? -1 : j)),
        ).flat(),
      };
      const expected = new Array<number>(rowCount * 9).fill(0);
      indices.data.forEach((j, i) => {
        if (j >= 0) expected[Math.floor(i / width) * 9 + j] = values.data[i] as number;
      });
      const put = bench.backend.putAlong(bench.upload(indices, 'i32'), bench.upload(values), 9);
      await bench.expect(put, { shape: [...shape.slice(0, -1), 9], data: expected }, { exact: true });
    }),
  ),
  ...(
    [
      [1, 1, 1, 1],
      [2, 5, 3, 4],
      [3, 2, 7, 5],
      [1, 40, 100, 3],
    ] as const
  ).map(([batch, n, m, d]) =>
    primitiveCase(`gatherRows of [${batch}, ${n}, ${d}] at [${batch}, ${m}], with -1`, async (bench) => {
      const random = new Random('gatherRows');
      const x = random.uniform([batch, n, d]);
      const indices = random.integers([batch, m], -1, n - 1);
      const expected = nd([batch, m, d], ([b = 0, i = 0, c = 0]) => {
        const row = at(indices, [b, i]);
        return row < 0 ? 0 : at(x, [b, row, c]);
      });
      await bench.expect(bench.backend.gatherRows(bench.upload(x), bench.upload(indices, 'i32')), expected, {
        exact: true,
      });
    }),
  ),
  ...(
    [
      [1, 1, 1, 1],
      [2, 5, 3, 4],
      [3, 2, 30, 5],
      [1, 40, 100, 3],
      [2, 3, 500, 2],
    ] as const
  ).map(([batch, n, m, d]) =>
    primitiveCase(
      `scatterAddRows of [${batch}, ${m}, ${d}] into ${n} rows, with repeats and -1`,
      async (bench) => {
        const random = new Random('scatterAddRows');
        const indices = random.integers([batch, m], -1, n - 1);
        const updates = random.integers([batch, m, d], -9, 9);
        const expected = new Array<number>(batch * n * d).fill(0);
        nd([batch, m, d], ([b = 0, i = 0, c = 0]) => {
          const row = at(indices, [b, i]);
          const position = (b * n + row) * d + c;
          if (row >= 0) expected[position] = (expected[position] as number) + at(updates, [b, i, c]);
          return 0;
        });
        const sums = bench.backend.scatterAddRows(n, bench.upload(indices, 'i32'), bench.upload(updates));
        await bench.expect(sums, { shape: [batch, n, d], data: expected }, { exact: true });
      },
    ),
  ),
  primitiveCase(
    'f16: topK, takeAlong, putAlong, gatherRows, scatterAddRows',
    async (bench) => {
      const { backend } = bench;
      const x: Nd = { shape: [2, 4], data: [1, 3, 3, 2, -1, -2, -1, -4] };
      const t = bench.upload(x, 'f16');
      const kept = backend.topK(t, 2);
      await bench.expect(kept.values, { shape: [2, 2], data: [3, 3, -1, -1] }, { dtype: 'f16' });
      await bench.expect(kept.indices, { shape: [2, 2], data: [1, 2, 0, 2] }, { dtype: 'i32' });
      const indices = bench.upload({ shape: [2, 2], data: [3, -1, 0, 1] }, 'i32');
      const taken = bench.own(backend.takeAlong(t, indices));
      await bench.expect(
        backend.putAlong(indices, taken, 4),
        { shape: [2, 4], data: [0, 0, 0, 2, -1, -2, 0, 0] },
        { dtype: 'f16' },
      );
      const table = bench.own(backend.reshape(t, [2, 2, 2]));
      const rowsAt = bench.upload({ shape: [2, 2], data: [1, 1, -1, 0] }, 'i32');
      const gathered = bench.own(backend.gatherRows(table, rowsAt));
      await bench.expect(
        backend.scatterAddRows(2, rowsAt, gathered),
        { shape: [2, 2, 2], data: [0, 0, 6, 4, -1, -2, 0, 0] },
        { dtype: 'f16' },
      );
    },
    { f16: true },
  ),
];
