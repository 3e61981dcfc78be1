import type { AttentionRequest } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { difference, problem, referenceGradients, roles, sharedMachine } from './backward-support.js';

const relativeBias = { bidirectional: true, maxDistance: 16, buckets: 8 };

const cases: readonly [string, Partial<AttentionRequest>][] = [
  ['plain', {}],
  ['k = 1', { k: 1 }],
  ['k = all keys', { k: 20 }],
  ['one query', { queryLength: 1, causal: true }],
  ['one key', { keyLength: 1, k: 1 }],
  ['more queries than keys, causal: leading rows are empty', { queryLength: 25, keyLength: 9, causal: true }],
  ['fewer queries than keys, causal', { queryLength: 9, keyLength: 25, causal: true }],
  ['grouped queries', { queryHeads: 6, keyHeads: 2, batch: 2 }],
  ['mask and lengths', { batch: 2, mask: [2, 1, 20, 20], keyLengths: true }],
  ['dropout', { dropout: { rate: 0.4, seed: 2 ** 40 + 12345 }, batch: 2, causal: true }],
  ['odd dimensions', { headDim: 5, valueDim: 3 }],
  ['dimensions of 1', { headDim: 1, valueDim: 1 }],
  ['head dim 64, value dim 128', { headDim: 64, valueDim: 128, causal: true }],
  ['head dim 256, value dim 16', { headDim: 256, valueDim: 16 }],
  ['head dim 80, value dim 130', { headDim: 80, valueDim: 130 }],
  ['f16', { dtype: 'f16', headDim: 16, valueDim: 8, queryHeads: 4, keyHeads: 2 }],
  [
    'f16, odd dimensions and lengths',
    { dtype: 'f16', headDim: 7, valueDim: 5, queryLength: 13, keyLength: 11 },
  ],
  ['bias by query and key', { bias: [1, 2, 20, 20], batch: 2 }],
  ['bias by all', { bias: [2, 2, 20, 20], batch: 2 }],
  ['bias shared by heads', { bias: [1, 1, 20, 20], batch: 2, queryHeads: 4 }],
  ['bias by key', { bias: [2, 1, 1, 20], batch: 2, queryHeads: 4 }],
  ['bias by head and key', { bias: [1, 4, 1, 20], queryHeads: 4, batch: 2 }],
  ['bias by query', { bias: [1, 2, 20, 1], batch: 2, dropout: { rate: 0.2, seed: 3 } }],
  ['bias by head', { bias: [1, 2, 1, 1], batch: 2 }],
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
      k: 6,
    },
  ],
];

const tolerance = { f32: 2e-6, f16: 1e-3 };

for (const [name, partial] of cases) {
  optional(`gradients of the reference: ${name}`, softwareGpuAvailability(), async () => {
    const machine = await sharedMachine();
    const made = problem(partial);
    const expected = referenceGradients(made);
    const whole = await machine.gradients(made);
    for (const role of roles) {
      expect(difference(whole[role], expected[role]), role).toBeLessThan(tolerance[made.request.dtype]);
    }
    // In parts: heads one by one and queries a few at a time.
    const parts = await machine.gradients(made, {}, 7);
    for (const role of roles) {
      expect(difference(parts[role], expected[role]), `${role} in parts`).toBeLessThan(
        tolerance[made.request.dtype],
      );
    }
  });
}
