import type { FeedForwardRequest } from '@topk-attention/core/backend';
import { referenceFeedForward } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect } from 'vitest';
import {
  checkLayer,
  drawArrays,
  expectClose,
  type Harness,
  openHarness,
  requestOf,
  runLayer,
} from '../support/feed-forward.js';

const gpu = softwareGpuAvailability();
// One device for the file: compiling shaders takes most of the time.
let opened: Promise<Harness> | undefined;
const open = (): Promise<Harness> => (opened ??= openHarness());
afterAll(async () => (await opened)?.destroy());

const test = (name: string, body: () => Promise<void>): void => optional(`feed-forward: ${name}`, gpu, body);

const kinds: readonly Partial<FeedForwardRequest>[] = [
  {},
  { biasIn: true, biasOut: true },
  { gated: true, activation: 'silu' },
  { activation: 'gelu', select: 'contribution' },
  { activation: 'gelu_tanh', select: 'contribution', gated: true, biasIn: true, biasOut: true },
  { dtype: 'f16', biasIn: true, biasOut: true },
  { dtype: 'f16', gated: true, activation: 'gelu_tanh' },
];

for (const second of ['gather', 'dense'] as const) {
  test(`every kind of layer against the oracle, second product ${second}`, async () => {
    const harness = await open();
    for (const [index, kind] of kinds.entries()) {
      for (const k of [4, 'all'] as const) {
        await checkLayer(harness, requestOf({ ...kind, second, k }), index);
      }
    }
  });

  test(`every k, second product ${second}`, async () => {
    const harness = await open();
    for (const k of [1, 2, 3, 15]) await checkLayer(harness, requestOf({ k, second }), k);
  });

  test(`sizes around tiles and odd widths, second product ${second}`, async () => {
    const harness = await open();
    const sizes: readonly (readonly number[])[] = [
      [1, 1, 2, 1],
      [3, 5, 7, 3],
      [127, 17, 33, 5],
      [129, 4, 20, 132],
      [2, 130, 129, 6],
    ];
    for (const [tokens = 0, inputDim = 0, hidden = 0, outputDim = 0] of sizes) {
      for (const dtype of ['f32', 'f16'] as const) {
        const k = Math.max(1, hidden >> 2);
        await checkLayer(
          harness,
          requestOf({ tokens, inputDim, hidden, outputDim, second, dtype, k }),
          tokens,
        );
      }
    }
  });

  test(`chunks of tokens, second product ${second}`, async () => {
    const harness = await open();
    const request = requestOf({ tokens: 150, hidden: 24, k: 5, second, biasIn: true, gated: true });
    for (const chunk of [1, 7, 128, 1000]) await checkLayer(harness, request, 5, chunk);
    await checkLayer(harness, { ...request, dtype: 'f16', outputDim: 5, inputDim: 3 }, 5, 7);
  });
}

for (const second of ['gather', 'dense'] as const) {
  test(`NaN and what is not finite, second product ${second}`, async () => {
    const harness = await open();
    for (const select of ['preactivation', 'contribution'] as const) {
      const request = requestOf({ tokens: 6, hidden: 20, k: 4, biasIn: true, biasOut: true, second, select });
      const clean = drawArrays(request, 3);
      const dOutput = Array.from({ length: 6 * 8 }, (_, i) => (i % 5) - 2);
      const { output } = await runLayer(harness, request, clean, dOutput, 6);

      const x = Array.from(clean.x, (value, i) => (i === 8 * 2 + 5 ? Number.NaN : value));
      const withNaN = await runLayer(harness, request, { ...clean, x }, dOutput, 6);
      expectClose(
        'output of a NaN token',
        withNaN.output,
        output.map((value, i) => (Math.floor(i / 8) === 2 ? Number.NaN : value)),
        0,
      );
      expect(withNaN.gradients.x?.slice(16, 24).every(Number.isNaN)).toBe(true);

      if (select === 'contribution') continue; // a row of wOut that is not finite ranks by an infinite length
      const bIn = Array.from({ length: 20 }, (_, unit) => (unit === 7 ? -1000 : 0));
      const unkept = await runLayer(harness, request, { ...clean, bIn }, dOutput, 6);
      const wOut = Array.from(clean.wOut, (value, i) => (Math.floor(i / 8) === 7 ? Number.NaN : value));
      expect(await runLayer(harness, request, { ...clean, bIn, wOut }, dOutput, 6)).toEqual(unkept);

      const kept = Array.from(clean.wOut, (value, i) =>
        i === 8 * (unkept.indices[0] as number) ? Number.POSITIVE_INFINITY : value,
      );
      const infinite = await runLayer(harness, request, { ...clean, bIn, wOut: kept }, dOutput, 6);
      const wanted = referenceFeedForward(request, { ...clean, bIn, wOut: kept });
      expectClose('output with a kept row that is not finite', infinite.output, wanted, 3e-6);
    }
  });
}

test('equal inputs give equal bits, and the lists are ascending', async () => {
  const harness = await open();
  const request = requestOf({ tokens: 40, hidden: 300, k: 37, gated: true, activation: 'gelu' });
  const arrays = drawArrays(request, 9);
  const dOutput = Array.from({ length: 40 * 8 }, (_, i) => Math.sin(i));
  const first = await runLayer(harness, request, arrays, dOutput, 16);
  expect(await runLayer(harness, request, arrays, dOutput, 16)).toEqual(first);
  for (let token = 0; token < 40; token++) {
    const list = first.indices.slice(token * 37, (token + 1) * 37);
    expect(list).toEqual([...new Set(list)].sort((a, b) => a - b));
  }
});
