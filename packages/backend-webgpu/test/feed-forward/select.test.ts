import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect } from 'vitest';
import { recordSelect } from '../../src/feed-forward/select.js';
import { wholeOf } from '../../src/runtime/binding.js';
import { type Harness, openHarness, randomOf } from '../support/feed-forward.js';

const gpu = softwareGpuAvailability();
const test = (name: string, body: () => Promise<void>): void =>
  optional(`feed-forward selection: ${name}`, gpu, body);

let opened: Promise<Harness> | undefined;
const open = (): Promise<Harness> => (opened ??= openHarness());
afterAll(async () => (await opened)?.destroy());

const NAN_ROW = 0xffffffff;
const random = randomOf(17);

/** Rows of scores that defeat a selection which assumes something of them. */
const patterns: Readonly<Record<string, (unit: number, hidden: number) => number>> = {
  'all equal': () => 1.5,
  'all zero, of both signs': (unit) => (unit % 3 === 0 ? -0 : 0),
  ascending: (unit) => unit,
  descending: (unit) => -unit,
  'one huge': (unit) => (unit === 7 ? 3e38 : unit % 2),
  'two values': (unit) => (unit % 5 === 0 ? 2 : 1),
  'last bits differ': (unit) => 1 + (unit % 16) * 2 ** -23,
  'close to the boundary of the last bits': (unit, hidden) => 1 + ((unit * 7) % hidden) * 2 ** -23,
  'mostly -inf': (unit) => (unit % 9 === 4 ? -unit : Number.NEGATIVE_INFINITY),
  'all -inf': () => Number.NEGATIVE_INFINITY,
  'with +inf': (unit) => (unit % 10 === 0 ? Number.POSITIVE_INFINITY : random()),
  'one NaN': (unit) => (unit === 11 ? Number.NaN : random()),
  'all NaN': () => Number.NaN,
  subnormal: (unit) => (unit % 7) * 2 ** -149,
  random: () => random() - 0.5,
};

/** Units of the k largest above -inf, ascending; ties to the lower unit. */
function brute(scores: readonly number[], k: number): number[] {
  return scores
    .map((score, unit) => ({ score, unit }))
    .filter(({ score }) => score > Number.NEGATIVE_INFINITY)
    .sort((a, b) => (a.score === b.score ? a.unit - b.unit : b.score - a.score))
    .slice(0, k)
    .map(({ unit }) => unit)
    .sort((a, b) => a - b);
}

for (const hidden of [1, 7, 300, 2048, 4097, 8192, 9004, 16384]) {
  test(`${hidden} units, every pattern and k`, async () => {
    const { stream, put, allocate, read } = await open();
    const names = Object.keys(patterns);
    const rows = Object.values(patterns).map((pattern) =>
      Array.from({ length: hidden }, (_, unit) => Math.fround(pattern(unit, hidden))),
    );
    const tokens = rows.length;
    const scores = put(rows.flat(), [tokens, hidden]);
    for (const k of new Set([
      1,
      2,
      Math.min(hidden, 200),
      Math.ceil(hidden / 3),
      Math.max(1, hidden - 1),
      hidden,
    ])) {
      const [indices, weights, kept, counts] = [
        allocate([tokens, k], 'i32'),
        allocate([tokens, k], 'f32'),
        allocate([tokens, k], 'f32'),
        allocate([tokens], 'i32'),
      ];
      recordSelect(
        stream,
        { tokens, hidden, k },
        { activation: 'relu', gated: false, isContribution: false, isDense: false, saves: true },
        {
          preactivations: wholeOf(scores.span),
          indices: wholeOf(indices.span),
          weights: wholeOf(weights.span),
          kept: wholeOf(kept.span),
          counts: wholeOf(counts.span),
        },
      );
      const [ofIndices, ofWeights, ofKept, ofCounts] = [
        await read(indices),
        await read(weights),
        await read(kept),
        await read(counts),
      ];
      for (const [row, values] of rows.entries()) {
        const what = `${names[row]}, k ${k}`;
        const wanted = brute(values, k);
        const list = ofIndices.slice(row * k, (row + 1) * k);
        expect(list, what).toEqual([...wanted, ...Array<number>(k - wanted.length).fill(-1)]);
        const isNaNRow = values.some(Number.isNaN);
        expect((ofCounts[row] as number) >>> 0, what).toBe(isNaNRow ? NAN_ROW : wanted.length);
        for (const [slot, unit] of wanted.entries()) {
          const score = isNaNRow ? Number.NaN : (values[unit] as number);
          expect(ofKept[row * k + slot], what).toBe(score === 0 ? ofKept[row * k + slot] : score);
          if (isNaNRow) expect(ofWeights[row * k + slot], what).toBeNaN();
          else expect(ofWeights[row * k + slot], what).toBeCloseTo(Math.max(score, 0), 12);
        }
      }
      for (const one of [indices, weights, kept, counts]) stream.release(one.span);
    }
    stream.release(scores.span);
  });
}
