import {
  crossEntropy,
  type DType,
  gatherRows,
  grad,
  scatterAddRows,
  scope,
  sum,
  type Tensor,
  takeAlong,
  tensor,
} from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { checkClose } from '../../harness/support/assert.js';
import { list, type Nd } from '../../harness/support/nd.js';
import { primitiveCase } from './primitive-case.js';

const NAN = Number.NaN;

/** One past the end, far past it, before the start, and where 32 bits or a row's offset would wrap around. */
const outside = [2, 3, 7, 1 << 20, 2 ** 31 - 1, -2, -7, -(2 ** 31)];

/** What an index outside the table gives. */
function missing(dtype: DType): number {
  return dtype === 'f32' || dtype === 'f16' ? NAN : 0;
}

function gatherCase(dtype: DType): ConformanceCase {
  return primitiveCase(
    `gatherRows of ${dtype}: a row outside of the table is ${missing(dtype)}, of index -1 it is 0`,
    async (bench) => {
      // The second table comes right after the first: an index past the end of one must not read the other.
      const x: Nd = { shape: [2, 2, 3], data: [1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1] };
      const rows = [0, -1, 1, ...outside];
      const indices: Nd = { shape: [2, rows.length], data: [...rows, ...rows] };
      const expected = [0, 1].flatMap((batch) =>
        rows.flatMap((row) => {
          const start = 6 * batch + 3 * row;
          if (row === 0 || row === 1) return x.data.slice(start, start + 3);
          return new Array<number>(3).fill(row === -1 ? 0 : missing(dtype));
        }),
      );
      await bench.expect(
        bench.backend.gatherRows(bench.upload(x, dtype), bench.upload(indices, 'i32')),
        { shape: [2, rows.length, 3], data: expected },
        { exact: true, dtype },
      );
    },
    { f16: dtype === 'f16' },
  );
}

function takeCase(dtype: DType): ConformanceCase {
  return primitiveCase(
    `takeAlong of ${dtype}: an index outside of the row is ${missing(dtype)}, -1 is 0`,
    async (bench) => {
      const x: Nd = { shape: [2, 2], data: [1, 0, 1, 1] };
      const at = [1, -1, 0, ...outside];
      const row = (values: readonly number[]): number[] =>
        at.map((j) => (j === 0 || j === 1 ? (values[j] as number) : j === -1 ? 0 : missing(dtype)));
      await bench.expect(
        bench.backend.takeAlong(
          bench.upload(x, dtype),
          bench.upload({ shape: [2, at.length], data: [...at, ...at] }, 'i32'),
        ),
        { shape: [2, at.length], data: [...row([1, 0]), ...row([1, 1])] },
        { exact: true, dtype },
      );
    },
    { f16: dtype === 'f16' },
  );
}

/** Runs `make` in a scope and compares its result. */
function opCase(name: string, expected: readonly number[], make: (up: Uploads) => Tensor): ConformanceCase {
  return {
    name,
    group: 'primitives',
    async run({ backend, tolerance }) {
      const y = scope(() =>
        make({
          floats: (shape, ...data) => tensor(backend, Float32Array.from(data), shape),
          ints: (shape, ...data) => tensor(backend, Int32Array.from(data), shape),
        }),
      );
      const values = await y.data();
      y.dispose();
      checkClose(name, values, expected, tolerance);
    },
  };
}

interface Uploads {
  floats(shape: readonly number[], ...data: number[]): Tensor;
  ints(shape: readonly number[], ...data: number[]): Tensor;
}

/** Log of the sum of e and 1, minus the logit of the target: the loss of a row [1, 0] with target 1. */
const loss = Math.log(Math.E + 1);
const share = Math.E / (Math.E + 1);

export const outsideCases: readonly ConformanceCase[] = [
  ...(['f32', 'f16', 'i32', 'bool'] as const).flatMap((dtype) => [gatherCase(dtype), takeCase(dtype)]),
  primitiveCase('gatherRows from a table without rows', async (bench) => {
    const x = bench.upload({ shape: [1, 0, 2], data: [] });
    await bench.expect(bench.backend.gatherRows(x, bench.upload({ shape: [1, 2], data: [0, -1] }, 'i32')), {
      shape: [1, 2, 2],
      data: [NAN, NAN, 0, 0],
    });
  }),
  ...[4, 3000].map((count) =>
    primitiveCase(`scatterAddRows drops every index outside, of ${count}`, async (bench) => {
      const indices = Array.from({ length: 2 * count }, (_, i) =>
        i % 2 === 0 ? (i / 2) % 2 : (outside[((i - 1) / 2) % outside.length] as number),
      );
      const sums = bench.backend.scatterAddRows(
        2,
        bench.upload({ shape: [2, count], data: indices }, 'i32'),
        bench.upload({
          shape: [2, count, 1],
          data: indices.map((row) => (row === 0 || row === 1 ? 1 : NAN)),
        }),
      );
      await bench.expect(
        sums,
        { shape: [2, 2, 1], data: new Array<number>(4).fill(count / 4) },
        { exact: true },
      );
    }),
  ),
  primitiveCase('putAlong drops every index outside', async (bench) => {
    const at = [1, ...outside];
    const put = bench.backend.putAlong(
      bench.upload({ shape: [2, at.length], data: [...at, ...at] }, 'i32'),
      bench.upload({ shape: [2, at.length], data: [...at, ...at].map((j) => (j === 1 ? 5 : NAN)) }),
      2,
    );
    await bench.expect(put, { shape: [2, 2], data: [0, 5, 0, 5] }, { exact: true });
  }),
  opCase('gradient of gatherRows: a row outside has none', [1, 1, 2, 2], (up) =>
    grad((x: Tensor) => sum(gatherRows(x, up.ints([1, 5], 1, 0, 1, 2, -1))))(
      up.floats([1, 2, 2], 1, 2, 3, 4),
    ),
  ),
  opCase('gradient of takeAlong: an index outside has none', [0, 1, 0], (up) =>
    grad((x: Tensor) => sum(takeAlong(x, up.ints([1, 4], 1, 3, -1, -2))))(up.floats([1, 3], 1, 2, 3)),
  ),
  opCase('gradient of scatterAddRows: what is dropped has none', [1, 0, 0, 0, 1], (up) =>
    grad((x: Tensor) => sum(scatterAddRows(2, up.ints([1, 5], 1, 2, -1, -2, 0), x)))(
      up.floats([1, 5, 1], 1, 2, 3, 4, 5),
    ),
  ),
  opCase('cross entropy of a target that is no class is NaN', [NAN], (up) =>
    crossEntropy(up.floats([2, 2], 1, 0, 1, 0), up.ints([2], 0, 2)),
  ),
  opCase('cross entropy of a target before the first class is NaN', [NAN], (up) =>
    crossEntropy(up.floats([2, 2], 1, 0, 1, 0), up.ints([2], 0, -2)),
  ),
  opCase(
    'gradient of cross entropy with a target that is no class: NaN in its row',
    [(share - 1) / 2, (1 - share) / 2, NAN, NAN],
    (up) => grad((x: Tensor) => crossEntropy(x, up.ints([2], 0, 2)))(up.floats([2, 2], 1, 0, 1, 0)),
  ),
  ...[NAN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY].flatMap((value) => [
    opCase(`cross entropy leaves out a row of ${value}`, [loss], (up) =>
      crossEntropy(up.floats([2, 2], 1, 0, value, value), up.ints([2], 1, -1)),
    ),
    opCase(`gradient of cross entropy leaves out a row of ${value}`, [share, -share, 0, 0], (up) =>
      grad((x: Tensor) => crossEntropy(x, up.ints([2], 1, -1)))(up.floats([2, 2], 1, 0, value, value)),
    ),
  ]),
  primitiveCase('list of one row: an index outside does not wrap around', async (bench) => {
    const x = bench.upload({ shape: [1, 1, 1], data: [5] });
    const at = bench.upload({ shape: [1, 3], data: [0, 1, -2] }, 'i32');
    await bench.expect(
      bench.backend.reshape(bench.own(bench.backend.gatherRows(x, at)), [3]),
      list(5, NAN, NAN),
    );
  }),
];
