import { halfToNumber, numberToHalf } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import { splitRefusals } from '../../../src/feed-forward/first-product.js';
import { recordForward } from '../../../src/feed-forward/forward.js';
import { drawArrays, openHarness, randomOf, requestOf } from '../../support/feed-forward.js';

const words = new DataView(new ArrayBuffer(4));

function bitsOf(x: number): number {
  words.setFloat32(0, x);
  return words.getUint32(0);
}

function floatOf(bits: number): number {
  words.setUint32(0, bits >>> 0);
  return words.getFloat32(0);
}

/** The arithmetic of `split.ts`, in numbers: 2^e for a line and the two halves of its elements. */
function split(line: readonly number[]): { scale: number; hi: number[]; lo: number[] } {
  const largest = Math.max(...line.map((x) => bitsOf(Math.abs(x))));
  const scale = floatOf(Math.max((largest >>> 23) - 13, 16) << 23);
  const scaled = line.map((x) => Math.fround(x / scale));
  const rounded = scaled.map((x) => floatOf((bitsOf(x) + 0x1000) & 0xffffe000));
  const half = (x: number): number => halfToNumber(numberToHalf(x));
  return { scale, hi: rounded.map(half), lo: scaled.map((x, i) => half(x - (rounded[i] as number))) };
}

describe('an f32 line as two f16 halves', () => {
  const random = randomOf(3);
  const normal = (): number => random() + random() + random() - 1.5;
  const lines: Readonly<Record<string, () => number[]>> = {
    normal: () => Array.from({ length: 64 }, normal),
    'far beyond f16': () => Array.from({ length: 64 }, () => normal() * 1e20),
    'far below f16': () => Array.from({ length: 64 }, () => normal() * 1e-20),
    'many magnitudes': () =>
      Array.from({ length: 64 }, () => normal() * 10 ** Math.round(20 * random() - 10)),
    'just below powers of two': () => Array.from({ length: 64 }, (_, i) => 2 ** (i % 14) * (1 - 2 ** -24)),
    'halfway cases': () => Array.from({ length: 64 }, (_, i) => 1 + 2 ** -11 + i * 2 ** -23),
    'f16 already': () => Array.from({ length: 64 }, () => halfToNumber(numberToHalf(normal()))),
    zeros: () => Array<number>(64).fill(0),
    subnormal: () => Array.from({ length: 64 }, (_, i) => i * 2 ** -149),
  };
  test.each(Object.entries(lines))('%s: the rest is within the stated bound', (_, draw) => {
    for (let round = 0; round < 50; round++) {
      const line = draw().map(Math.fround);
      const { scale, hi, lo } = split(line);
      for (const [i, x] of line.entries()) {
        const value = x / scale;
        const rest = Math.abs(value - (hi[i] as number) - (lo[i] as number));
        // Below the scaled range of f32's subnormals the scale itself is clamped.
        expect(rest).toBeLessThanOrEqual(2 ** -22 * Math.abs(value) + 2 ** -24);
        expect(Math.abs(hi[i] as number)).toBeLessThanOrEqual(2 ** 14);
      }
    }
  });

  test('hi hi + hi lo + lo hi misses a product by at most 3 * 2^-22 of sum |a||b|', () => {
    for (let round = 0; round < 50; round++) {
      const [x, y] = [(lines.normal as () => number[])(), (lines.normal as () => number[])()];
      const [a, b] = [split(x.map(Math.fround)), split(y.map(Math.fround))];
      let [got, wanted, size] = [0, 0, 0];
      for (let i = 0; i < 64; i++) {
        const [p, q] = [Math.fround(x[i] as number), Math.fround(y[i] as number)];
        const [ah, al, bh, bl] = [a.hi[i], a.lo[i], b.hi[i], b.lo[i]] as [number, number, number, number];
        got += (ah * bh + ah * bl + al * bh) * a.scale * b.scale;
        wanted += p * q;
        size += Math.abs(p * q);
      }
      expect(Math.abs(got - wanted)).toBeLessThanOrEqual(3.1 * 2 ** -22 * size);
    }
  });
});

// Where there is no device at all, the test is skipped too.
const harness = await openHarness().catch(() => undefined);
const refusals = harness === undefined ? ['no device'] : splitRefusals(harness.facts);

optional(
  'feed-forward: products on matrix units against the plain ones, extremes included',
  { need: 'tensor-gpu', available: refusals.length === 0, reason: refusals.join('; ') },
  async () => {
    if (harness === undefined) return;
    const { stream, put, allocate, read } = harness;
    for (const [tokens, inputDim, hidden] of [
      [129, 40, 300],
      [600, 17, 129],
    ] as const) {
      const request = requestOf({ tokens, inputDim, hidden, k: 20, biasIn: true, gated: true, saves: true });
      const arrays = drawArrays(request, tokens);
      const x = Array.from(arrays.x);
      for (let d = 0; d < inputDim; d++) {
        x[3 * inputDim + d] = (x[3 * inputDim + d] as number) * 2 ** 60;
        x[4 * inputDim + d] = (x[4 * inputDim + d] as number) * 2 ** -60;
      }
      x[5 * inputDim] = Number.POSITIVE_INFINITY;
      x[6 * inputDim] = Number.NaN;
      const inputs = {
        x: put(x, [tokens, inputDim]),
        wIn: put(arrays.wIn, [inputDim, hidden]),
        bIn: put(arrays.bIn ?? [], [hidden]),
        wGate: put(arrays.wGate ?? [], [inputDim, hidden]),
        wOut: put(arrays.wOut, [hidden, 8]),
      };
      const results: number[][][] = [];
      for (const kind of ['plain', 'split'] as const) {
        const output = allocate([tokens, 8], 'f32');
        const indices = allocate([tokens, 20], 'i32');
        const preactivations = allocate([tokens, 20], 'f32');
        recordForward(stream, request, { ...inputs, output, indices, preactivations }, 128, kind);
        results.push([await read(indices), await read(preactivations), await read(output)]);
      }
      // Halves times halves are exact either way.
      expect(results[1]).toEqual(results[0]);
    }
  },
);
