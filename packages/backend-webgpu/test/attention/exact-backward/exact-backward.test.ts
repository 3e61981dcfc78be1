import { type DType, type Shape, sizeOf } from '@topk-attention/core';
import type { AttentionRequest } from '@topk-attention/core/backend';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, vi } from 'vitest';
import { exactBackward } from '../../../src/attention/exact-backward/exact-backward.js';
import { limitsOf } from '../../../src/limits.js';
import { Stream } from '../../../src/runtime/stream.js';
import { storageBytes, type View } from '../../../src/runtime/view.js';
import {
  difference,
  type Problem,
  problem,
  referenceGradients,
  roles,
  sharedMachine,
} from '../../support/backward.js';
import { backwardCases, relativeBias, toleranceOf } from '../../support/backward-cases.js';

const exact = (partial: Partial<AttentionRequest>, seed = 1): Problem =>
  problem({ ...partial, k: 'all' }, seed);

/** Every bias that all keys share. Its gradient is 0 with softmax, but not with sigmoids. */
const sharedBiases: readonly Shape[] = [1, 20].flatMap((queries): Shape[] => [
  [1, 1, queries, 1],
  [1, 4, queries, 1],
  [2, 1, queries, 1],
  [2, 4, queries, 1],
]);

const cases: typeof backwardCases = [
  ...backwardCases,
  ...sharedBiases.map((bias): (typeof backwardCases)[number] => [
    `sigmoids, bias [${bias}]`,
    { sigmoidShift: -1, batch: 2, queryHeads: 4, keyHeads: 2, causal: true, keyLength: 77, bias },
  ]),
  ['sigmoids', { sigmoidShift: -1.5, batch: 2, keyLengths: true, bias: [1, 2, 1, 1] }],
  [
    'sigmoids, causal, leading rows are empty',
    { sigmoidShift: 1, queryLength: 25, keyLength: 9, causal: true },
  ],
  [
    'sigmoids, dropout, more keys than a row notes',
    { sigmoidShift: -3, dropout: { rate: 0.4, seed: 6 }, queryLength: 3, keyLength: 4301 },
  ],
  ['a scale above 1', { scale: 3, causal: true, queryLength: 9, keyLength: 21 }],
];

const software = softwareGpuAvailability();
/** Every case compiles kernels of its own. */
const thorough = software.available ? thoroughAvailability() : software;
const quick: ReadonlySet<string> = new Set(['plain', 'all at once', 'sigmoids', 'sigmoids, bias [2,1,1,1]']);

for (const [name, partial] of cases) {
  optional(`exact gradients of the reference: ${name}`, quick.has(name) ? software : thorough, async () => {
    const machine = await sharedMachine();
    const made = exact(partial);
    const expected = referenceGradients(made);
    const most = (role: string): number => toleranceOf(made.request, role);
    const whole = await machine.exactGradients(made);
    for (const role of roles) expect(difference(whole[role], expected[role]), role).toBeLessThan(most(role));
    // In parts: a few heads and queries at a time.
    const parts = await machine.exactGradients(made, { partBytes: 4000, leastQueries: 4 }, 7);
    for (const role of roles) {
      expect(difference(parts[role], expected[role]), `${role} in parts`).toBeLessThan(most(role));
    }
  });
}

optional(
  'exact gradients by the tiles of hardware, with and without a copy of the keys',
  software,
  async () => {
    const machine = await sharedMachine();
    for (const keyLength of [131, 132]) {
      const made = exact({
        queryLength: 70,
        keyLength,
        headDim: 20,
        causal: true,
        mask: [1, 1, 1, keyLength],
      });
      const facts = { ...machine.stream.facts, isSoftware: false };
      const got = await machine.exactGradients(made, {}, made.request.queryLength, facts);
      const expected = referenceGradients(made);
      for (const role of roles) expect(difference(got[role], expected[role]), role).toBeLessThan(2e-6);
    }
  },
);

const paired: Readonly<Record<string, Partial<AttentionRequest>>> = {
  'values wider than keys, lengths': { batch: 2, valueDim: 24, keyLengths: true },
  'grouped heads, causal': { queryHeads: 4, causal: true, queryLength: 70, keyLength: 132 },
  'f16, a mask': { dtype: 'f16', mask: [1, 1, 20, 20] },
  'dropout, a bias, a relative bias': {
    ...{ dropout: { rate: 0.3, seed: 5 }, bias: [1, 2, 20, 20], relativeBias },
  },
};

for (const [name, partial] of Object.entries(paired)) {
  optional(`scores and dP in one launch have the bits of two launches: ${name}`, thorough, async () => {
    const machine = await sharedMachine();
    const made = exact(partial);
    const gradientsOn = (storageBuffers: number): ReturnType<typeof machine.exactGradients> => {
      const facts = { ...machine.stream.facts, isSoftware: false, storageBuffers };
      return machine.exactGradients(made, {}, made.request.queryLength, facts);
    };
    const together = await gradientsOn(10);
    expect(together).toEqual(await gradientsOn(5));
    const expected = referenceGradients(made);
    for (const role of roles) {
      expect(difference(together[role], expected[role]), role).toBeLessThan(toleranceOf(made.request, role));
    }
  });
}

optional('an unusual gradient in each of several parts', software, async () => {
  const machine = await sharedMachine();
  const made = exact({ queryHeads: 4, keyHeads: 2 });
  // Columns of the first query of the first head, of the last of the third, and of one between.
  for (const at of [3, 1 * 160 + 9 * 8 + 1, 2 * 160 + 19 * 8 + 5]) made.dOutput[at] = Number.NaN;
  const expected = referenceGradients(made);
  const got = await machine.exactGradients(made, { partBytes: 1600, leastQueries: 4 });
  for (const role of roles) expect(difference(got[role], expected[role]), role).toBeLessThan(2e-6);
});

optional('leading queries without a key, heads one by one', software, async () => {
  const machine = await sharedMachine();
  const made = exact({ queryLength: 25, keyLength: 9, causal: true });
  const got = await machine.exactGradients(made, { partBytes: 4000, leastQueries: 25 });
  const expected = referenceGradients(made);
  for (const role of roles) expect(difference(got[role], expected[role]), role).toBeLessThan(2e-6);
});

optional('equal bits twice', software, async () => {
  const machine = await sharedMachine();
  const made = exact({ causal: true, queryLength: 40, keyLength: 50, relativeBias });
  expect(await machine.exactGradients(made, { partBytes: 8000 })).toEqual(
    await machine.exactGradients(made, { partBytes: 8000 }),
  );
});

optional('a bias that all keys share: a workgroup for each row, equal bits twice', software, async () => {
  const machine = await sharedMachine();
  const { stream } = machine;
  for (const bias of sharedBiases) {
    const made = exact({ sigmoidShift: -1, batch: 2, queryHeads: 4, bias });
    const workgroups: unknown[] = [];
    const launch = vi.spyOn(stream, 'launch').mockImplementation(function (this: Stream, one) {
      if (one.kernel.key.startsWith('attention exact-backward bias')) workgroups.push(one.workgroups);
      Stream.prototype.launch.call(this, one);
    });
    const first = await machine.exactGradients(made);
    launch.mockRestore();
    // 8 heads of 20 queries, then the elements: with a workgroup for each of these alone, a GPU would idle.
    expect(workgroups).toEqual([
      [160, 1, 1],
      [sizeOf(bias), 1, 1],
    ]);
    expect(await machine.exactGradients(made)).toEqual(first);
  }
});

optional('planned bytes count the sums of a bias that all keys share', software, async () => {
  const { stream } = await sharedMachine();
  const dry = new Stream(stream.device, { isDry: true });
  const allocate = (shape: Shape, dtype: DType): View => ({
    span: dry.scratch(storageBytes(shape, dtype)),
    shape,
    dtype,
  });
  // Rows so short that the sums are much of the scratch.
  const sizes = { queryHeads: 4, keyHeads: 4, queryLength: 512, keyLength: 4, headDim: 2, valueDim: 2 };
  const { request } = exact({ sigmoidShift: -1, ...sizes, bias: [1, 4, 1, 1] });
  const prepared = exactBackward(dry, dry.facts, allocate).prepare(request, limitsOf(dry.facts));
  if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
  const [q, kv] = [
    [1, 4, 512, 2],
    [1, 4, 4, 2],
  ] as const;
  const bias = allocate([1, 4, 1, 1], 'f32');
  const inputs = { q: allocate(q, 'f32'), k: allocate(kv, 'f32'), v: allocate(kv, 'f32'), bias };
  const dOutput = allocate(q, 'f32');
  dry.pool.resetPeak();
  const before = dry.pool.peakUsedBytes;
  const made = prepared.run({ ...inputs, dOutput }, request.queryLength);
  const gradients = Object.values(made).reduce((sum, { span }) => sum + span.buffer.size, 0);
  const taken = dry.pool.peakUsedBytes - before - gradients;
  const planned = prepared.scratchBytes(request.queryLength);
  expect(planned / taken).toBeGreaterThanOrEqual(1);
  expect(planned / taken).toBeLessThanOrEqual(1.5);
});

optional('what is hidden or not finite, in exact gradients', software, async () => {
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
