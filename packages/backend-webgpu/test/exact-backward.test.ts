import type { AttentionRequest } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import {
  difference,
  type Problem,
  problem,
  referenceGradients,
  roles,
  sharedMachine,
} from './backward-support.js';

const relativeBias = { bidirectional: true, maxDistance: 16, buckets: 8 };
const exact = (partial: Partial<AttentionRequest>, seed = 1): Problem =>
  problem({ ...partial, k: 'all' }, seed);

const cases: readonly [string, Partial<AttentionRequest>][] = [
  ['plain', {}],
  ['one query', { queryLength: 1, causal: true }],
  ['one key', { keyLength: 1 }],
  ['more queries than keys, causal: leading rows are empty', { queryLength: 25, keyLength: 9, causal: true }],
  ['fewer queries than keys, causal', { queryLength: 9, keyLength: 26, causal: true }],
  ['grouped queries', { queryHeads: 6, keyHeads: 2, batch: 2, causal: true }],
  ['mask and lengths', { batch: 2, mask: [2, 1, 20, 20], keyLengths: true }],
  ['mask of keys', { batch: 2, mask: [2, 1, 1, 20] }],
  ['dropout', { dropout: { rate: 0.4, seed: 2 ** 40 + 12345 }, batch: 2, causal: true }],
  ['odd dimensions and lengths', { headDim: 5, valueDim: 3, queryLength: 19, keyLength: 23 }],
  ['dimensions of 1', { headDim: 1, valueDim: 1 }],
  ['a scale above 1', { scale: 3, causal: true, queryLength: 9, keyLength: 21 }],
  ['head dim 64, value dim 128', { headDim: 64, valueDim: 128, causal: true }],
  ['f16', { dtype: 'f16', headDim: 16, valueDim: 8, queryHeads: 4, keyHeads: 2 }],
  [
    'f16, odd dimensions and lengths',
    { dtype: 'f16', headDim: 7, valueDim: 5, queryLength: 13, keyLength: 11 },
  ],
  ['bias by query and key', { bias: [1, 2, 20, 20], batch: 2 }],
  ['bias by all', { bias: [2, 2, 20, 20], batch: 2, causal: true }],
  ['bias shared by heads', { bias: [1, 1, 20, 20], batch: 2, queryHeads: 4 }],
  ['bias by sequence', { bias: [2, 1, 20, 20], batch: 2, queryHeads: 4 }],
  ['bias by key', { bias: [2, 1, 1, 20], batch: 2, queryHeads: 4 }],
  ['bias by head and key', { bias: [1, 4, 1, 20], queryHeads: 4, batch: 2 }],
  ['bias by query', { bias: [1, 2, 20, 1], batch: 2, dropout: { rate: 0.2, seed: 3 } }],
  ['bias by head', { bias: [1, 2, 1, 1], batch: 2, dropout: { rate: 0.2, seed: 4 } }],
  ['relative bias', { relativeBias, batch: 2, queryHeads: 4 }],
  [
    'relative bias, causal, 40 buckets',
    {
      relativeBias: { bidirectional: false, maxDistance: 300, buckets: 40 },
      causal: true,
      queryLength: 60,
      keyLength: 70,
    },
  ],
  [
    'all at once',
    {
      batch: 2,
      queryHeads: 4,
      keyHeads: 2,
      mask: [1, 1, 20, 20],
      keyLengths: true,
      bias: [1, 4, 1, 20],
      relativeBias,
      dropout: { rate: 0.1, seed: 7 },
      causal: true,
    },
  ],
];

const tolerance = { f32: 2e-6, f16: 1e-3 };
/** A gradient that is 0 by mathematics, as the gradients of a row's scores sum to 0: nothing but rounding is left of it. */
const ofNothing = 2e-5;

for (const [name, partial] of cases) {
  optional(`exact gradients of the reference: ${name}`, softwareGpuAvailability(), async () => {
    const machine = await sharedMachine();
    const made = exact(partial);
    const expected = referenceGradients(made);
    const isNothing = made.request.bias?.[3] === 1;
    const most = (role: string): number =>
      role === 'bias' && isNothing ? ofNothing : tolerance[made.request.dtype];
    const whole = await machine.exactGradients(made);
    for (const role of roles) expect(difference(whole[role], expected[role]), role).toBeLessThan(most(role));
    // In parts: a few heads and queries at a time.
    const parts = await machine.exactGradients(made, { partBytes: 4000, leastQueries: 4 }, 7);
    for (const role of roles) {
      expect(difference(parts[role], expected[role]), `${role} in parts`).toBeLessThan(most(role));
    }
  });
}

optional('exact gradients by the tiles of hardware', softwareGpuAvailability(), async () => {
  const machine = await sharedMachine();
  const made = exact({ queryLength: 70, keyLength: 131, headDim: 20, causal: true, mask: [1, 1, 1, 131] });
  const got = await machine.exactGradients(made, { tileRows: 64 });
  const expected = referenceGradients(made);
  for (const role of roles) expect(difference(got[role], expected[role]), role).toBeLessThan(2e-6);
});

optional('equal bits twice', softwareGpuAvailability(), async () => {
  const machine = await sharedMachine();
  const made = exact({ causal: true, queryLength: 40, keyLength: 50, relativeBias });
  expect(await machine.exactGradients(made, { partBytes: 8000 })).toEqual(
    await machine.exactGradients(made, { partBytes: 8000 }),
  );
});

optional('what is hidden or not finite, in exact gradients', softwareGpuAvailability(), async () => {
  const machine = await sharedMachine();
  const poisons: Record<string, (one: Problem) => void> = {
    'a hidden key': ({ arrays }) => {
      (arrays.k as Float64Array).fill(Number.NaN, 19 * 8, 20 * 8);
      (arrays.v as Float64Array).fill(Number.POSITIVE_INFINITY, 19 * 8, 20 * 8);
    },
    'a query without a key': ({ arrays, dOutput }) => {
      (arrays.mask as Float64Array).fill(0, 3 * 20, 4 * 20);
      (arrays.q as Float64Array).fill(Number.NaN, 3 * 8, 4 * 8);
      dOutput.fill(Number.NaN, 3 * 8, 4 * 8);
    },
    'a query of NaN': ({ arrays }) => (arrays.q as Float64Array).fill(Number.NaN, 5 * 8, 5 * 8 + 1),
    'a visible value of NaN': ({ arrays }) => {
      (arrays.v as Float64Array)[2 * 8 + 1] = Number.NaN;
    },
    'a gradient of NaN in one column': ({ dOutput }) => {
      dOutput[7 * 8 + 2] = Number.NaN;
    },
    'an infinite score': ({ arrays }) => {
      (arrays.k as Float64Array)[4 * 8] = Number.POSITIVE_INFINITY;
    },
  };
  for (const [name, poison] of Object.entries(poisons)) {
    const made = exact({ queryHeads: 1, keyHeads: 1, mask: [1, 1, 20, 20] }, 3);
    const mask = made.arrays.mask as Float64Array;
    for (let query = 0; query < 20; query++) mask[query * 20 + 19] = 0;
    poison(made);
    const got = await machine.exactGradients(made);
    const expected = referenceGradients(made);
    for (const role of ['q', 'k', 'v'] as const) {
      expect(difference(got[role], expected[role]), `${name}: ${role}`).toBeLessThan(2e-6);
    }
  }
});
