import { referenceAttention } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { problem, roles, sharedMachine } from '../../support/backward.js';

const rowOf = (values: Float64Array, row: number, width: number): number[] =>
  Array.from(values.subarray(row * width, (row + 1) * width));

optional('a NaN row has NaN gradients and no other row has', softwareGpuAvailability(), async () => {
  const machine = await sharedMachine();
  const clean = problem({ queryLength: 9, keyLength: 30, k: 3 }, 3);
  const { indices, scores } = referenceAttention(clean.request, clean.arrays);
  const badRow = 4;
  for (const [bad, keepsKeys] of [
    [Number.NaN, true],
    [Number.NaN, false],
    [Number.POSITIVE_INFINITY, true],
  ] as const) {
    const lists = { indices: indices.slice(), scores: scores.slice() };
    for (let slot = 0; slot < 3; slot++) {
      if (slot === 1 || Number.isNaN(bad)) lists.scores[badRow * 3 + slot] = bad;
      if (!keepsKeys) lists.indices[badRow * 3 + slot] = -1;
    }
    const made = await machine.gradients({ ...clean, lists });
    for (let row = 0; row < 18; row++) {
      expect(rowOf(made.q, row, 8).every(Number.isNaN), `query ${row}`).toBe(row === badRow);
      expect(rowOf(made.q, row, 8).some(Number.isNaN), `query ${row}`).toBe(row === badRow);
    }
    const touched = new Set(keepsKeys ? indices.slice(badRow * 3, badRow * 3 + 3) : []);
    for (let key = 0; key < 60; key++) {
      expect(rowOf(made.k, key, 8).some(Number.isNaN), `key ${key}`).toBe(touched.has(key));
      expect(rowOf(made.v, key, 8).some(Number.isNaN), `value ${key}`).toBe(touched.has(key));
    }
  }
});

optional(
  'keys that are not kept never matter, even if their rows are NaN',
  softwareGpuAvailability(),
  async () => {
    const machine = await sharedMachine();
    const clean = problem({ queryLength: 9, keyLength: 40, k: 3, queryHeads: 1, keyHeads: 1 }, 4);
    const lists = referenceAttention(clean.request, clean.arrays);
    // Key 0 too: a slot without a key must not read it by accident.
    for (let row = 0; row < 9; row++) if (lists.indices[row * 3] === 0) lists.indices[row * 3] = 1;
    lists.indices[5] = -1;
    lists.scores[5] = Number.NEGATIVE_INFINITY;
    const kept = new Set(lists.indices);
    const dirty = (values: ArrayLike<number>): Float64Array =>
      Float64Array.from(values, (x, i) => (kept.has(Math.floor(i / 8)) ? x : Number.NaN));
    const arrays = { ...clean.arrays, k: dirty(clean.arrays.k), v: dirty(clean.arrays.v) };
    const expected = await machine.gradients({ ...clean, lists });
    const got = await machine.gradients({ ...clean, arrays, lists });
    for (const role of roles) {
      expect(got[role].every(Number.isFinite), role).toBe(true);
      expect(got[role], role).toEqual(expected[role]);
    }
  },
);

optional('finite differences of the reference', softwareGpuAvailability(), async () => {
  const machine = await sharedMachine();
  const made = problem(
    {
      queryHeads: 4,
      keyHeads: 2,
      causal: true,
      bias: [1, 4, 1, 20],
      relativeBias: { bidirectional: true, maxDistance: 16, buckets: 8 },
      dropout: { rate: 0.25, seed: 99 },
    },
    6,
  );
  const gradients = await machine.gradients(made);
  const { request, dOutput } = made;
  const loss = (arrays: typeof made.arrays): number =>
    referenceAttention(request, arrays).output.reduce((sum, x, i) => sum + x * (dOutput[i] as number), 0);
  const step = 1e-6;
  for (const role of roles) {
    const values = made.arrays[role];
    if (values === undefined) throw new RangeError(role);
    for (let sample = 0; sample < 12; sample++) {
      const at = (sample * 7919) % values.length;
      const moved = (by: number): number => {
        const copy = Float64Array.from({ length: values.length }, (_, i) => values[i] as number);
        copy[at] = (copy[at] as number) + by;
        return loss({ ...made.arrays, [role]: copy });
      };
      const slope = (moved(step) - moved(-step)) / (2 * step);
      expect(Math.abs(slope - (gradients[role][at] as number)), `${role}[${at}]`).toBeLessThan(2e-5);
    }
  }
});
