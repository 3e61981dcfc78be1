import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import type { BackwardTuning } from '../../../src/attention/backward/tuning.js';
import { difference, problem, referenceGradients, roles, sharedMachine } from '../../support/backward.js';

/** Around tiles of 128 keys, blocks of 32 queries, workgroups of 64 slots. */
const lengths: readonly [queries: number, keys: number, k: number][] = [
  [31, 127, 5],
  [32, 128, 64],
  [33, 129, 65],
  [64, 255, 63],
  [65, 256, 1],
  [1, 257, 130],
  [3, 300, 300],
];

/** Larger tiles than so few keys need, and entries too many to be staged. */
const tunings: readonly [string, Partial<BackwardTuning>][] = [
  ['tiles of 256 keys', { mostTiles: 2 }],
  ['tiles of 512 keys', { mostTiles: 1 }],
  ['nothing staged', { tileEntries: 256 }],
];

for (const [name, tuning] of tunings) {
  optional(`other ways to sort: ${name}`, softwareGpuAvailability(), async () => {
    const machine = await sharedMachine();
    const made = problem({ queryHeads: 2, keyHeads: 1, queryLength: 20, keyLength: 310, k: 260 }, 9);
    const expected = referenceGradients(made);
    const got = await machine.gradients(made, tuning);
    for (const role of roles) expect(difference(got[role], expected[role]), role).toBeLessThan(3e-6);
  });
}

for (const [queryLength, keyLength, k] of lengths) {
  optional(`${queryLength} queries, ${keyLength} keys, k ${k}`, softwareGpuAvailability(), async () => {
    const machine = await sharedMachine();
    const made = problem({ queryHeads: 1, keyHeads: 1, queryLength, keyLength, k }, 8);
    const expected = referenceGradients(made);
    const got = await machine.gradients(made, { blockEntries: 256 });
    for (const role of roles) expect(difference(got[role], expected[role]), role).toBeLessThan(3e-6);
  });
}
