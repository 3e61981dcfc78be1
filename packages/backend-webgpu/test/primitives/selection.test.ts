import type { DType, Shape } from '@topk-attention/core';
import { type Availability, optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect } from 'vitest';
import { recordGatherRows } from '../../src/primitives/gather-rows.js';
import { recordPutAlong } from '../../src/primitives/put-along.js';
import { recordRandomBits } from '../../src/primitives/random-bits.js';
import { recordTakeAlong } from '../../src/primitives/take-along.js';
import { recordTopK, type TopKVariant } from '../../src/primitives/top-k.js';
import { generator, Harness, integers } from '../support/primitives-harness.js';

const INF = Number.POSITIVE_INFINITY;

let shared: Promise<Harness> | undefined;
afterAll(async () => (await shared)?.close());

const software = softwareGpuAvailability();
const thorough = software.available ? thoroughAvailability() : software;

/** One device for the file: its shaders compile once. */
function onGpu(
  name: string,
  run: (harness: Harness) => Promise<void>,
  availability: Availability = software,
): void {
  optional(name, availability, async () => {
    shared ??= Harness.create();
    await run(await shared);
  });
}

async function expectTopK(
  harness: Harness,
  data: readonly number[],
  shape: Shape,
  k: number,
  dtype: DType = 'f32',
  variant?: TopKVariant,
): Promise<void> {
  const x = harness.upload(data, shape, dtype);
  const kept = harness.reference.topK(x.reference, k);
  const values = harness.empty(kept.values.shape, dtype);
  const indices = harness.empty(kept.indices.shape, 'i32');
  recordTopK(harness.stream, x.view, k, values, indices, variant);
  const what = `[${shape}] k ${k} ${dtype} ${JSON.stringify(variant)}`;
  expect(await harness.read(indices), what).toEqual(await harness.expected(kept.indices));
  expect(await harness.read(values), what).toEqual(await harness.expected(kept.values));
}

const patterns: Readonly<Record<string, (width: number) => number[]>> = {
  random: (width) => Array.from({ length: width }, generator(width)),
  'all equal': (width) => new Array<number>(width).fill(-1.5),
  ascending: (width) => Array.from({ length: width }, (_, j) => j - 7),
  descending: (width) => Array.from({ length: width }, (_, j) => 7 - j),
  'few values': (width) => integers(width, -1, 1),
  'one huge': (width) => Array.from({ length: width }, (_, j) => (j === width >> 1 ? 3e38 : 0)),
  'all -inf': (width) => new Array<number>(width).fill(-INF),
  'some -inf, some +inf': (width) => integers(width, -2, 2).map((v) => (v === 2 ? INF : v < 1 ? -INF : v)),
  'zeros of both signs': (width) => integers(width, 0, 1).map((v) => (v === 0 ? -0 : 0)),
  'one bit apart': (width) => integers(width, 0, 3).map((v) => 1 + v * 2 ** -23),
};

for (const [name, row] of Object.entries(patterns)) {
  onGpu(`topK of ${name}`, async (harness) => {
    for (const width of [1, 2, 63, 64, 65, 257, 1000]) {
      const data = [...row(width), ...row(width).reverse(), ...row(width)];
      for (const k of new Set([1, 2, width >> 1, width - 1, width].filter((k) => k >= 1 && k <= width))) {
        await expectTopK(harness, data, [3, width], k);
      }
    }
  });
}

const variants: readonly TopKVariant[] = [
  'scans',
  { groups: 0, invocations: 256 },
  { groups: 1, invocations: 256 },
];
for (const variant of variants) {
  // The ways of one and of several groups take six seconds each to compile.
  const availability = variant === 'scans' ? software : thorough;
  const body = async (harness: Harness): Promise<void> => {
    for (const name of ['all equal', 'few values', 'some -inf, some +inf', 'one bit apart']) {
      const row = patterns[name] as (width: number) => number[];
      // 2,100 equal entries overflow the list.
      for (const [width, k] of [
        [600, 128],
        [2100, 5],
        [1027, 250],
        [65, 65],
      ] as const) {
        if (typeof variant === 'object' && variant.groups === 0 && width > 2048) continue;
        await expectTopK(harness, [...row(width), ...row(width).reverse()], [2, width], k, 'f32', variant);
      }
    }
    await expectTopK(harness, integers(3 * 1100, -300, 300), [3, 1100], 100, 'f16', variant);
    await expectTopK(harness, integers(3 * 1101, -3, 3), [3, 1101], 100, 'f16', variant);
  };
  onGpu(`topK by every way gives the same: ${JSON.stringify(variant)}`, body, availability);
}

onGpu('the largest alone, on its own', async (harness) => {
  for (const row of Object.values(patterns)) {
    for (const width of [1, 2, 63, 64, 257, 1000, 9001]) {
      const data = [...row(width), ...row(width).reverse(), ...row(width)];
      await expectTopK(harness, data, [3, width], 1, 'f32', 'largest');
    }
  }
  for (const width of [1, 7, 300, 301]) {
    await expectTopK(harness, integers(9 * width, -2, 2), [9, width], 1, 'f16', 'largest');
  }
});

onGpu('topK of f16, rows that meet inside a word', async (harness) => {
  for (const [width, k] of [
    [1, 1],
    [7, 3],
    [64, 5],
    [301, 301],
    [301, 17],
  ] as const) {
    await expectTopK(harness, integers(5 * width, -9, 9), [5, width], k, 'f16');
    await expectTopK(harness, Array.from({ length: 5 * width }, generator(3)), [5, width], k, 'f16');
    await expectTopK(
      harness,
      integers(5 * width, 0, 3).map((v) => [-INF, -0, 0, 65504][v] as number),
      [5, width],
      k,
      'f16',
    );
  }
});

onGpu('topK of no rows', async (harness) => {
  await expectTopK(harness, [], [0, 5], 2);
});

onGpu('takeAlong and putAlong', async (harness) => {
  for (const dtype of ['f32', 'f16', 'i32', 'bool'] as const) {
    for (const [rows, width, taken] of [
      [1, 1, 1],
      [3, 5, 4],
      [2, 64, 63],
      [5, 7, 7],
      [4, 8, 8],
      [3, 1000, 65],
      [2, 5, 0],
      [0, 5, 2],
    ] as const) {
      const next = generator(rows + width);
      const low = dtype === 'bool' ? 0 : -50;
      const x = harness.upload(integers(rows * width, low, dtype === 'bool' ? 1 : 50), [rows, width], dtype);
      const at = Array.from({ length: rows }, () => permutation(width, next).slice(0, taken)).flat();
      const indices = harness.upload(
        at.map((j) => (j % 5 === 3 ? -1 : j)),
        [rows, taken],
        'i32',
      );
      const what = `${dtype} [${rows}, ${width}] at ${taken}`;
      const out = harness.empty([rows, taken], dtype);
      recordTakeAlong(harness.stream, x.view, indices.view, out);
      const expected = harness.reference.takeAlong(x.reference, indices.reference);
      expect(await harness.read(out), what).toEqual(await harness.expected(expected));
      const put = harness.empty([rows, width], dtype);
      recordPutAlong(harness.stream, indices.view, out, put);
      const back = harness.reference.putAlong(indices.reference, expected, width);
      expect(await harness.read(put), what).toEqual(await harness.expected(back));
    }
  }
});

onGpu(
  'gatherRows in units of four words, one word and a half, NaN rows and -1 among them',
  async (harness) => {
    for (const dtype of ['f32', 'f16', 'i32'] as const) {
      for (const width of [0, 1, 2, 3, 4, 8, 16, 65]) {
        for (const [batch, rows, taken] of [
          [1, 1, 1],
          [3, 5, 7],
          [2, 65, 64],
          [2, 3, 0],
        ] as const) {
          const values = integers(batch * rows * width, -99, 99).map((v) =>
            v === 7 && dtype !== 'i32' ? Number.NaN : v,
          );
          const x = harness.upload(values, [batch, rows, width], dtype);
          const indices = harness.upload(integers(batch * taken, -1, rows - 1), [batch, taken], 'i32');
          const out = harness.empty([batch, taken, width], dtype);
          recordGatherRows(harness.stream, x.view, indices.view, out);
          const expected = harness.reference.gatherRows(x.reference, indices.reference);
          expect(await harness.read(out), `${dtype} ${batch} ${rows} ${taken} ${width}`).toEqual(
            await harness.expected(expected),
          );
        }
      }
    }
  },
);

onGpu('randomBits are those of core', async (harness) => {
  for (const [seed, offset, shape] of [
    [0, [0, 0, 0, 0], [1]],
    [7, [1, 2, 3, 4], []],
    [2 ** 32 + 12345, [2, 0, 100, 3], [2, 3, 5]],
    [Number.MAX_SAFE_INTEGER, [1, 0, 2 ** 32 - 3, 0], [2, 2, 3, 40]],
    [3, [0, 0, 0, 0], [0, 4]],
    // Four words at a time, also where the counter wraps, and rows that are not fours.
    [9, [0, 5, 2, 8], [2, 1, 3, 68]],
    [10, [0, 0, 0, 2 ** 32 - 4], [1, 1, 2, 12]],
    [11, [0, 0, 0, 6], [1, 2, 2, 12]],
    [12, [0, 0, 0, 4], [1, 2, 2, 10]],
  ] as const) {
    const out = harness.empty(shape, 'i32');
    recordRandomBits(harness.stream, seed, offset, out);
    const expected = harness.reference.randomBits(seed, offset, shape);
    expect(await harness.read(out)).toEqual(await harness.expected(expected));
  }
});

function permutation(n: number, next: () => number): number[] {
  const order = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}
