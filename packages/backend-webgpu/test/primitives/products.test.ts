import type { DType, Shape } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect } from 'vitest';
import { recordMatmul } from '../../src/primitives/matmul.js';
import {
  LARGE_TILE,
  launchProduct,
  type MatmulVariant,
  MEDIUM_TILE,
  SMALL_TILE,
  TALL_TILE,
} from '../../src/primitives/matmul-choose.js';
import type { Operand } from '../../src/primitives/matmul-product.js';
import type { MatmulTile } from '../../src/primitives/matmul-tile.js';
import { recordScatterAddRows, type ScatterVariant } from '../../src/primitives/scatter-add-rows.js';
import { recordSoftmax } from '../../src/primitives/softmax.js';
import type { View } from '../../src/runtime/view.js';
import { distance, generator, Harness, integers } from '../support/primitives-harness.js';

const INF = Number.POSITIVE_INFINITY;
const NAN = Number.NaN;

let shared: Promise<Harness> | undefined;
afterAll(async () => (await shared)?.close());

/** One device for the file: its shaders compile once. */
function onGpu(name: string, run: (harness: Harness) => Promise<void>): void {
  optional(name, softwareGpuAvailability(), async () => {
    shared ??= Harness.create();
    await run(await shared);
  });
}

interface Shapes {
  readonly batchA: readonly number[];
  readonly batchB: readonly number[];
  readonly mkn: readonly [number, number, number];
}

async function expectProduct(
  harness: Harness,
  { batchA, batchB, mkn }: Shapes,
  dtype: DType,
  variant?: MatmulVariant,
): Promise<void> {
  const [m, k, n] = mkn;
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      // Each operand is read in two ways, whatever the other is: two of the four shaders have both.
      if (variant !== undefined && transposeA === transposeB) continue;
      const aShape = [...batchA, ...(transposeA ? [k, m] : [m, k])];
      const bShape = [...batchB, ...(transposeB ? [n, k] : [k, n])];
      const size = (shape: Shape): number => shape.reduce((x, y) => x * y, 1);
      const a = harness.upload(integers(size(aShape), -4, 4, 1), aShape, dtype);
      const b = harness.upload(integers(size(bShape), -4, 4, 2), bShape, dtype);
      const expected = harness.reference.matmul(a.reference, b.reference, transposeA, transposeB);
      const out = harness.empty(expected.shape, dtype);
      recordMatmul(harness.stream, a.view, b.view, out, transposeA, transposeB, variant);
      // Whole numbers: every partial sum is exact.
      const what = `[${aShape}]${transposeA ? '^T' : ''} x [${bShape}]${transposeB ? '^T' : ''} ${dtype}`;
      expect(distance(await harness.read(out), await harness.expected(expected)), what).toBe(0);
    }
  }
}

const products: readonly Shapes[] = [
  { batchA: [], batchB: [], mkn: [1, 1, 1] },
  { batchA: [], batchB: [], mkn: [17, 33, 65] },
  { batchA: [], batchB: [], mkn: [3, 0, 5] },
  { batchA: [], batchB: [], mkn: [0, 3, 5] },
  { batchA: [2], batchB: [2], mkn: [0, 3, 5] },
  { batchA: [0], batchB: [0], mkn: [2, 3, 5] },
  { batchA: [2, 3], batchB: [2, 3], mkn: [3, 5, 7] },
  { batchA: [3], batchB: [], mkn: [3, 7, 5] },
  { batchA: [], batchB: [2, 2], mkn: [5, 3, 3] },
];

for (const shapes of products) {
  onGpu(`matmul of batches [${shapes.batchA}] and [${shapes.batchB}], ${shapes.mkn}`, async (harness) => {
    await expectProduct(harness, shapes, 'f32');
    await expectProduct(harness, shapes, 'f16');
  });
}

/** Shaders of large tiles take seconds to compile on a CPU, so a tiny one stands for all that tiles have in common. */
const TINY_TILE: MatmulTile = { rows: 32, columns: 32, depth: 8, microRows: 4, microColumns: 4, speed: 1 };

for (const mkn of [
  [64, 24, 32],
  [36, 12, 68],
  [33, 17, 31],
] as const) {
  for (const dtype of ['f32', 'f16'] as const) {
    onGpu(`matmul in tiles, ${mkn}, ${dtype}`, async (harness) => {
      await expectProduct(
        harness,
        { batchA: [2], batchB: dtype === 'f32' ? [2] : [], mkn },
        dtype,
        TINY_TILE,
      );
    });
  }
}

for (const [name, variant, [m, k, n]] of [
  ['large', LARGE_TILE, [132, 36, 140]],
  ['tall', TALL_TILE, [132, 36, 30]],
  ['medium', MEDIUM_TILE, [132, 36, 140]],
  ['small, in parts', SMALL_TILE, [68, 600, 72]],
] as const) {
  onGpu(`matmul, the ${name} tile`, async (harness) => {
    const a = harness.upload(integers(m * k, -4, 4, 1), [m, k]);
    const b = harness.upload(integers(n * k, -4, 4, 2), [n, k]);
    const out = harness.empty([m, n]);
    recordMatmul(harness.stream, a.view, b.view, out, false, true, variant);
    const expected = harness.reference.matmul(a.reference, b.reference, false, true);
    expect(distance(await harness.read(out), await harness.expected(expected))).toBe(0);
  });
}

onGpu('products that are added to what is there', async (harness) => {
  for (const [variant, [m, k, n]] of [
    ['plain', [5, 7, 6]],
    ['narrow', [3, 600, 20]],
    ['narrow', [3, 2112, 20]],
    [TINY_TILE, [36, 12, 68]],
    [TINY_TILE, [33, 700, 31]],
  ] as const) {
    const a = harness.upload(integers(m * k, -4, 4, 1), [m, k]);
    const b = harness.upload(integers(k * n, -4, 4, 2), [k, n]);
    const out = harness.upload(integers(m * n, -9, 9, 3), [m, n]);
    const before = await harness.read(out.view);
    const operand = (of: View, stride: number): Operand => ({ span: of.span, base: 0, batchStep: 0, stride });
    launchProduct(
      harness.stream,
      {
        ...{ dtype: 'f32', transposeA: false, transposeB: false, batch: 1, rows: m, inner: k, columns: n },
        ...{ a: operand(a.view, k), b: operand(b.view, n), out: operand(out.view, n), adds: true },
      },
      variant,
    );
    const product = await harness.expected(harness.reference.matmul(a.reference, b.reference, false, false));
    const got = await harness.read(out.view);
    expect(got, `${m} x ${k} x ${n}`).toEqual(got.map((_, at) => Number(before[at]) + Number(product[at])));
  }
});

onGpu('products with rows that hold NaN and infinities, times a factor', async (harness) => {
  for (const [variant, [m, k, n]] of [
    [undefined, [5, 7, 1]],
    ['plain', [5, 7, 6]],
    ['narrow', [3, 600, 20]],
    [TINY_TILE, [64, 24, 32]],
    [TINY_TILE, [33, 700, 31]],
  ] as const) {
    const given = integers(k * n, -4, 4, 2);
    const unusual = [NAN, INF, -INF];
    const poisoned = given.map((value, at) => unusual[at % 17] ?? value);
    const safe = given.map((value, at) => (unusual[at % 17] === undefined ? 0.5 * value : 0));
    const a = harness.upload(integers(m * k, -4, 4, 1), [m, k]);
    const [b, expectedB] = [harness.upload(poisoned, [k, n]), harness.upload(safe, [k, n])];
    const out = harness.empty([m, n]);
    const operand = (of: View, stride: number): Operand => ({ span: of.span, base: 0, batchStep: 0, stride });
    launchProduct(
      harness.stream,
      {
        ...{ dtype: 'f32', transposeA: false, transposeB: false, batch: 1, rows: m, inner: k, columns: n },
        ...{ a: operand(a.view, k), b: operand(b.view, n), out: operand(out, n), safeFactor: 0.5 },
      },
      variant,
    );
    const expected = harness.reference.matmul(a.reference, expectedB.reference, false, false);
    expect(distance(await harness.read(out), await harness.expected(expected)), `${m} x ${k} x ${n}`).toBe(0);
  }
});

onGpu('matmul of few rows, or of one column', async (harness) => {
  for (const mkn of [
    [1, 768, 132],
    [3, 67, 65],
    [65, 40, 1],
  ] as const) {
    await expectProduct(harness, { batchA: [2], batchB: [2], mkn }, 'f32', 'narrow');
  }
  await expectProduct(harness, { batchA: [2], batchB: [2], mkn: [3, 67, 65] }, 'f16', 'narrow');
});

onGpu('matmul: equal bits twice, fractions, a sum in parts', async (harness) => {
  const a = harness.upload(Array.from({ length: 2 * 1000 }, generator(1)), [2, 1000]);
  const b = harness.upload(Array.from({ length: 1000 * 9 }, generator(2)), [1000, 9]);
  const [first, second] = [harness.empty([2, 9]), harness.empty([2, 9])];
  recordMatmul(harness.stream, a.view, b.view, first, false, false, 'narrow');
  recordMatmul(harness.stream, a.view, b.view, second, false, false, 'narrow');
  const got = await harness.read(first);
  expect(await harness.read(second)).toEqual(got);
  const expected = await harness.expected(harness.reference.matmul(a.reference, b.reference, false, false));
  expect(distance(got, expected)).toBeLessThan(2e-4);
});

onGpu('softmax beside NaN, infinities and large numbers, at every width', async (harness) => {
  for (const dtype of ['f32', 'f16'] as const) {
    for (const width of [1, 2, 3, 63, 64, 65, 300, 1000, 5001, 5004]) {
      const next = generator(width);
      const random = Array.from({ length: width }, () => 20 * next() - 10);
      const at = (place: number, value: number): number[] => random.map((v, j) => (j === place ? value : v));
      const rows = [
        random,
        new Array<number>(width).fill(-INF),
        at(width - 1, NAN),
        at(0, -NAN),
        at(width >> 1, INF),
        at(width >> 1, -INF),
        at(0, dtype === 'f32' ? 3e38 : 65504),
        at(0, dtype === 'f32' ? -3e38 : -65504),
        new Array<number>(width).fill(dtype === 'f32' ? -3e38 : -65504),
      ];
      const x = harness.upload(rows.flat(), [rows.length, width], dtype);
      const out = harness.empty([rows.length, width], dtype);
      recordSoftmax(harness.stream, x.view, out);
      const expected = await harness.expected(harness.reference.softmax(x.reference));
      expect(distance(await harness.read(out), expected), `${dtype} ${width}`).toBeLessThan(
        dtype === 'f32' ? 1e-6 : 1e-3,
      );
    }
  }
});

async function expectScatter(
  harness: Harness,
  [batch, count, width, rows]: readonly [number, number, number, number],
  dtype: DType,
  indexOf: (i: number) => number,
  variant: ScatterVariant,
): Promise<void> {
  const indices = harness.upload(
    Array.from({ length: batch * count }, (_, i) => indexOf(i)),
    [batch, count],
    'i32',
  );
  const updates = harness.upload(integers(batch * count * width, -3, 3), [batch, count, width], dtype);
  const out = harness.empty([batch, rows, width], dtype);
  recordScatterAddRows(harness.stream, indices.view, updates.view, out, variant);
  const expected = harness.reference.scatterAddRows(rows, indices.reference, updates.reference);
  const what = `${dtype} [${batch}, ${count}, ${width}] into ${rows}, ${variant}`;
  expect(distance(await harness.read(out), await harness.expected(expected)), what).toBe(0);
}

const scatters: Readonly<Record<ScatterVariant, readonly (readonly [number, number, number, number])[]>> = {
  direct: [
    [1, 1, 1, 1],
    [2, 5, 3, 4],
    [3, 30, 5, 2],
    [2, 300, 8, 7],
    [2, 0, 3, 4],
    [0, 3, 3, 4],
    [2, 3, 3, 0],
  ],
  parts: [
    [1, 1, 1, 1],
    [1, 255, 3, 40],
    [1, 257, 4, 7],
    [1, 1100, 68, 9],
    [1, 2100, 8, 3000],
    // More parts than a workgroup looks at side by side.
    [1, 66_000, 4, 5],
  ],
  sorted: [
    [1, 1, 1, 1],
    [2, 30, 5, 20],
    [2, 1100, 4, 9],
  ],
};
for (const variant of ['direct', 'parts', 'sorted'] as const) {
  onGpu(`scatterAddRows, ${variant}: repeats, -1, rows without updates, one row for all`, async (harness) => {
    for (const dtype of ['f32', 'f16', 'i32'] as const) {
      if (dtype === 'f16' && variant === 'parts') continue;
      for (const sizes of scatters[variant]) {
        const rows = sizes[3];
        const random = integers(70_000, -1, rows - 1, 5);
        await expectScatter(harness, sizes, dtype, (i) => random[i] as number, variant);
        await expectScatter(harness, sizes, dtype, () => rows - 1, variant);
        await expectScatter(harness, sizes, dtype, () => -1, variant);
        // Neighbours in runs, and rows that do not exist.
        await expectScatter(harness, sizes, dtype, (i) => Math.floor(i / 21) % (rows + 2), variant);
      }
    }
  });
}
