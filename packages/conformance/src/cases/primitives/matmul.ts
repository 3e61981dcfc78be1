import type { ConformanceCase } from '../../harness/case.js';
import { type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { primitiveCase } from './primitive-case.js';

/** Element [i, j] of the last two axes of batch `batch`, transposed if asked. */
function element(x: Nd, batch: number, i: number, j: number, transposed: boolean): number {
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  const start = x.shape.length === 2 ? 0 : batch * rows * columns;
  return x.data[start + (transposed ? j * columns + i : i * columns + j)] as number;
}

export function product(a: Nd, b: Nd, transposeA: boolean, transposeB: boolean): Nd {
  const aEnd = a.shape.slice(-2) as [number, number];
  const bEnd = b.shape.slice(-2) as [number, number];
  const [rows, inner] = transposeA ? [aEnd[1], aEnd[0]] : aEnd;
  const columns = transposeB ? bEnd[0] : bEnd[1];
  const batchShape = (a.shape.length >= b.shape.length ? a : b).shape.slice(0, -2);
  return nd([...batchShape, rows, columns], (coordinates) => {
    const batch = batchShape.reduce((sum, extent, axis) => sum * extent + (coordinates[axis] as number), 0);
    const [i, j] = coordinates.slice(-2) as [number, number];
    let sum = 0;
    for (let p = 0; p < inner; p++) {
      sum += element(a, batch, i, p, transposeA) * element(b, batch, p, j, transposeB);
    }
    return sum;
  });
}

const shapes: readonly {
  readonly batchA: number[];
  readonly batchB: number[];
  readonly mkn: [number, number, number];
}[] = [
  { batchA: [], batchB: [], mkn: [3, 4, 5] },
  { batchA: [], batchB: [], mkn: [1, 1, 1] },
  { batchA: [], batchB: [], mkn: [1, 7, 1] },
  { batchA: [], batchB: [], mkn: [17, 33, 65] },
  { batchA: [2], batchB: [2], mkn: [3, 4, 5] },
  { batchA: [2, 3], batchB: [2, 3], mkn: [4, 2, 3] },
  { batchA: [2, 1, 3], batchB: [2, 1, 3], mkn: [2, 3, 2] },
  { batchA: [3], batchB: [], mkn: [2, 4, 3] },
  { batchA: [], batchB: [3], mkn: [2, 4, 3] },
  { batchA: [2, 3], batchB: [], mkn: [2, 4, 3] },
  { batchA: [], batchB: [2, 2], mkn: [3, 2, 4] },
];

const cases = shapes.flatMap(({ batchA, batchB, mkn: [m, k, n] }) =>
  [false, true].flatMap((transposeA) =>
    [false, true].map((transposeB) => {
      const aShape = [...batchA, ...(transposeA ? [k, m] : [m, k])];
      const bShape = [...batchB, ...(transposeB ? [n, k] : [k, n])];
      const flags = `${transposeA ? ', a transposed' : ''}${transposeB ? ', b transposed' : ''}`;
      return primitiveCase(`matmul [${aShape}] with [${bShape}]${flags}`, async (bench) => {
        const random = new Random('matmul');
        const [a, b] = [random.integers(aShape, -8, 8), random.integers(bShape, -8, 8)];
        const result = bench.backend.matmul(bench.upload(a), bench.upload(b), transposeA, transposeB);
        // Small whole numbers: every partial sum is exact, so an error cannot hide in the tolerance.
        await bench.expect(result, product(a, b, transposeA, transposeB), { exact: true });
      });
    }),
  ),
);

export const matmulCases: readonly ConformanceCase[] = [
  ...cases,
  primitiveCase('matmul of fractions, 200 terms a sum', async (bench) => {
    const random = new Random('matmul fractions');
    const [a, b] = [random.uniform([5, 200]), random.uniform([200, 6])];
    await bench.expect(
      bench.backend.matmul(bench.upload(a), bench.upload(b), false, false),
      product(a, b, false, false),
    );
  }),
  primitiveCase('matmul of a tensor with itself', async (bench) => {
    const a = new Random('gram').integers([3, 4], -3, 3);
    const t = bench.upload(a);
    await bench.expect(bench.backend.matmul(t, t, false, true), product(a, a, false, true), { exact: true });
    await bench.expect(bench.backend.matmul(t, t, true, false), product(a, a, true, false), { exact: true });
  }),
  primitiveCase('matmul of views', async (bench) => {
    const a = nd([2, 2, 3], (_, i) => i);
    const rows = bench.own(bench.backend.reshape(bench.upload(a), [4, 3]));
    const turned = bench.own(bench.backend.transpose(rows, [1, 0]));
    const flat: Nd = { shape: [4, 3], data: a.data };
    await bench.expect(bench.backend.matmul(turned, rows, false, false), product(flat, flat, true, false), {
      exact: true,
    });
  }),
  primitiveCase('matmul propagates NaN and infinities, 0 times them too', async (bench) => {
    const a: Nd = { shape: [3, 2], data: [0, 1, 1, 1, 2, 0] };
    const b: Nd = { shape: [2, 2], data: [Number.NaN, Number.POSITIVE_INFINITY, 1, 1] };
    const expected: Nd = {
      shape: [3, 2],
      data: [
        Number.NaN,
        Number.NaN,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        Number.NaN,
        Number.POSITIVE_INFINITY,
      ],
    };
    await bench.expect(bench.backend.matmul(bench.upload(a), bench.upload(b), false, false), expected, {
      exact: true,
    });
  }),
  primitiveCase(
    'f16: matmul sums in f32',
    async (bench) => {
      // 2048 + 1 is not a half: summed in f16, the ones are lost.
      const a = nd([1, 65], ([, j = 0]) => (j === 0 ? 2048 : 1));
      const b = nd([65, 1], () => 1);
      const result = bench.own(
        bench.backend.matmul(bench.upload(a, 'f16'), bench.upload(b, 'f16'), false, false),
      );
      const [value = 0] = await bench.read(result);
      if (value !== 2112) throw new Error(`2048 + 64 ones gave ${value}`);
    },
    { f16: true },
  ),
];
