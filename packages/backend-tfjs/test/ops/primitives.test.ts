import {
  fill,
  gatherRows,
  grad,
  matmul,
  mean,
  putAlong,
  reshape,
  scatterAddRows,
  scope,
  sum,
  type Tensor,
  takeAlong,
  tensor,
  topKAttention,
} from '@topk-attention/core';
import { beforeAll, describe, expect, test } from 'vitest';
import { createTfjsBackend, type TfjsBackend } from '../../src/index.js';
import { cpuTf, wasmTf } from '../support/engines.js';

describe.each([
  ['cpu', cpuTf],
  ['wasm', wasmTf],
] as const)('on the %s engine', (_name, load) => {
  let backend: TfjsBackend;
  beforeAll(async () => {
    backend = await createTfjsBackend({ tf: await load() });
  });

  async function valuesOf(make: () => Tensor): Promise<number[]> {
    const made = scope(make);
    const values = [...(await made.data())];
    made.dispose();
    return values;
  }

  describe('adding up many terms loses no digits:', () => {
    const terms = 1_000_007;
    const tenths = (count: number): Tensor => fill(backend, 0.1, [count]);

    async function expectSums(make: () => Tensor, expected: number): Promise<void> {
      for (const value of await valuesOf(make)) expect(Math.abs(value / expected - 1)).toBeLessThan(1e-5);
    }

    test.each([
      ['sum', () => sum(tenths(terms)), 0.1 * terms],
      ['mean', () => mean(tenths(terms)), 0.1],
      ['sum of twos', () => sum(fill(backend, 2, [17_000_000])), 34_000_000],
      ['sum over the first axis', () => sum(reshape(tenths(900_000), [300_000, 3]), { axes: [0] }), 30_000],
      ['sum over two axes', () => sum(reshape(tenths(900_000), [3000, 3, 100]), { axes: [0, 2] }), 30_000],
      ['sum around a kept axis', () => sum(reshape(tenths(901_000), [901, 10, 100]), { axes: [0, 2] }), 9010],
    ])('%s', (_case, make, expected) => expectSums(make, expected));

    test.each([
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ])('matmul, transposed %s and %s', async (transposeA, transposeB) => {
      for (const [rows, inner, columns] of [
        [1, terms, 1],
        [3, 100_003, 2],
        [40, 4097, 5],
      ] as const) {
        const a = transposeA ? [inner, rows] : [rows, inner];
        const b = transposeB ? [columns, inner] : [inner, columns];
        await expectSums(
          () => matmul(fill(backend, 0.1, a), fill(backend, 1, b), { transposeA, transposeB }),
          0.1 * inner,
        );
        await expectSums(
          () =>
            matmul(fill(backend, 0.1, [2, ...a]), fill(backend, 1, [2, ...b]), { transposeA, transposeB }),
          0.1 * inner,
        );
      }
    });

    test('long products are those of the numbers, whichever parts they are cut into', async () => {
      const [rows, inner, columns] = [3, 9001, 2];
      const a = Float32Array.from({ length: 2 * rows * inner }, (_, i) => (i % 7) - 3);
      const b = Float32Array.from({ length: 2 * inner * columns }, (_, i) => (i % 5) - 2);
      const expected = Array.from({ length: 2 * rows * columns }, (_, at) => {
        const [batch, row, column] = [
          Math.floor(at / rows / columns),
          Math.floor(at / columns) % rows,
          at % columns,
        ];
        let total = 0;
        for (let i = 0; i < inner; i++) {
          const left = a[(batch * rows + row) * inner + i] as number;
          total += left * (b[(batch * inner + i) * columns + column] as number);
        }
        return total;
      });
      const made = await valuesOf(() =>
        matmul(tensor(backend, a, [2, rows, inner]), tensor(backend, b, [2, inner, columns])),
      );
      expect(made).toEqual(expected);
    });

    test('scatterAddRows', () =>
      expectSums(() => {
        const at = tensor(
          backend,
          Int32Array.from({ length: 1_000_000 }, (_, i) => i % 2),
          [1, 1_000_000],
        );
        return scatterAddRows(2, at, reshape(tenths(1_000_000), [1, 1_000_000, 1]));
      }, 50_000));

    test('gradients of what all queries share', async () => {
      // Every query gives its only key the same gradient.
      const queries = 300_000;
      const made = await valuesOf(() => {
        const q = fill(backend, 1, [1, 1, queries, 1]);
        const k = fill(backend, 1, [1, 1, 1, 1]);
        const v = fill(backend, 1, [1, 1, 1, 1]);
        return grad((p: { v: Tensor }) => sum(topKAttention(q, k, p.v, { k: 1 })))({ v }).v as Tensor;
      });
      expect(made).toEqual([queries]);
    });
  });

  describe('indices outside of what there is', () => {
    const indices = (shape: readonly number[], ...values: number[]): Tensor =>
      tensor(backend, Int32Array.from(values), shape);

    test('give rows of NaN, -1 rows of zeros; of integers and bools both are zeros', async () => {
      for (const count of [5, 1]) {
        const at = [7, -1, 1, -2, 2].slice(0, count);
        const rows = [
          [NaN, NaN],
          [0, 0],
          [3, 4],
          [NaN, NaN],
          [NaN, NaN],
        ]
          .slice(0, count)
          .flat();
        const zeros = rows.map((value) => (Number.isNaN(value) ? 0 : value));
        const x = [1, 2, 3, 4];
        expect(
          await valuesOf(() => gatherRows(tensor(backend, x, [1, 2, 2]), indices([1, count], ...at))),
        ).toEqual(rows);
        expect(
          await valuesOf(() =>
            gatherRows(tensor(backend, Int32Array.from(x), [1, 2, 2]), indices([1, count], ...at)),
          ),
        ).toEqual(zeros);
        expect(
          await valuesOf(() =>
            gatherRows(tensor(backend, Uint8Array.of(1, 0, 1, 1), [1, 2, 2]), indices([1, count], ...at)),
          ),
        ).toEqual([0, 0, 0, 0, 1, 1, 0, 0, 0, 0].slice(0, 2 * count));
      }
    });

    test('do not reach the rows of the next batch', async () => {
      const x = (): Tensor => tensor(backend, [1, 2, 3, 4], [2, 2, 1]);
      expect(await valuesOf(() => gatherRows(x(), indices([2, 2], 2, 1, -3, 0)))).toEqual([NaN, 2, NaN, 3]);
      expect(
        await valuesOf(() => takeAlong(reshape(x(), [2, 2]), indices([2, 3], 2, -1, 1, 5, 0, -9))),
      ).toEqual([NaN, 0, 2, NaN, 3, NaN]);
    });

    test('are dropped where rows are added up or put', async () => {
      const at = (): Tensor => indices([2, 3], 5, 0, -4, 2, 3, 1);
      const x = (): Tensor => tensor(backend, [1, 2, 3, 4, 5, 6], [2, 3, 1]);
      expect(await valuesOf(() => scatterAddRows(3, at(), x()))).toEqual([2, 0, 0, 0, 6, 4]);
      expect(await valuesOf(() => putAlong(at(), reshape(x(), [2, 3]), 3))).toEqual([2, 0, 0, 0, 6, 4]);
    });

    test('a table without rows has none of them', async () => {
      const nothing = (): Tensor => fill(backend, 0, [1, 0, 2]);
      expect(await valuesOf(() => gatherRows(nothing(), indices([1, 2], -1, 0)))).toEqual([0, 0, NaN, NaN]);
    });
  });
});
