import type { AttentionRequest } from '@topk-attention/core/backend';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect, vi } from 'vitest';
import type { ExactBackwardTuning } from '../../../src/attention/exact-backward/parts.js';
import type { DeviceFacts } from '../../../src/runtime/facts.js';
import { Stream } from '../../../src/runtime/stream.js';
import {
  difference,
  type Gradients,
  Machine,
  type Problem,
  problem,
  referenceGradients,
  roles,
} from '../../support/backward.js';
import { relativeBias, toleranceOf } from '../../support/backward-cases.js';

const software = softwareGpuAvailability();
/** Every case compiles kernels of its own. */
const thorough = software.available ? thoroughAvailability() : software;

let shared: Promise<Machine> | undefined;

/** The default limits bind too few buffers for products in one launch. */
function largeMachine(): Promise<Machine> {
  shared ??= Machine.make(false);
  return shared;
}

afterAll(async () => {
  (await shared)?.destroy();
});

/** Enough heads that their products fill a large device: as many tiles as it has units, or twice as many in groups. */
const heads: Partial<AttentionRequest> = { k: 'all', batch: 33, queryHeads: 4, keyHeads: 4 };
const grouped: Partial<AttentionRequest> = { k: 'all', batch: 66, queryHeads: 4, keyHeads: 2 };

/** Gradients as a device makes them that is no software, and the kernels that made them. */
async function gradientsOf(
  made: Problem,
  tuning: Partial<ExactBackwardTuning> = {},
): Promise<{ readonly got: Gradients; readonly kernels: readonly string[] }> {
  const machine = await largeMachine();
  const facts: DeviceFacts = { ...machine.stream.facts, isSoftware: false };
  const kernels: string[] = [];
  const launch = vi.spyOn(machine.stream, 'launch').mockImplementation(function (this: Stream, one) {
    kernels.push(one.kernel.key);
    Stream.prototype.launch.call(this, one);
  });
  try {
    const got = await machine.exactGradients(made, tuning, made.request.queryLength, facts);
    return { got, kernels };
  } finally {
    launch.mockRestore();
  }
}

const together = (kernels: readonly string[]): readonly string[] =>
  kernels.filter((key) => key.startsWith('attention exact-backward products'));

/** Scores of one part of that many queries of every head. */
function partsOf(queries: number, { batch, queryHeads, keyLength }: AttentionRequest): ExactBackwardTuning {
  const rowBytes = 8 * Math.ceil(keyLength / 4) * 4;
  const partBytes = batch * queryHeads * queries * rowBytes;
  return { partBytes, largePartBytes: partBytes, fewParts: 1, leastQueries: queries };
}

async function expectReference(made: Problem, parts: number, tuning = {}): Promise<Gradients> {
  const { got, kernels } = await gradientsOf(made, tuning);
  expect(together(kernels)).toHaveLength(parts);
  expect(kernels.filter((key) => /matmul|unusual/.test(key))).toEqual([]);
  const expected = referenceGradients(made);
  for (const role of roles) {
    expect(difference(got[role], expected[role]), role).toBeLessThan(toleranceOf(made.request, role));
  }
  return got;
}

const cases: Readonly<Record<string, Partial<AttentionRequest>>> = {
  'a mask and lengths': { ...heads, mask: [33, 1, 20, 20], keyLengths: true },
  'values wider than keys, keys no multiple of four': { ...heads, batch: 40, keyLength: 23, valueDim: 24 },
  'grouped heads, causal': { ...grouped, causal: true },
  'f16, grouped heads': { ...grouped, dtype: 'f16' },
  'more keys than queries see, causal': {
    ...{ ...heads, batch: 40, queryLength: 25, keyLength: 40, causal: true, queryStart: 4 },
  },
  'leading queries without a key': { ...heads, batch: 40, queryLength: 25, keyLength: 20, causal: true },
  'dropout, a bias, a relative bias': {
    ...{ ...heads, dropout: { rate: 0.3, seed: 5 }, bias: [1, 4, 20, 20], relativeBias },
  },
  'sigmoids, a scale above 1': { ...heads, sigmoidShift: -1, scale: 1.5 },
  'tiles of 64 columns': { ...heads, headDim: 40, valueDim: 64, queryLength: 70, keyLength: 70 },
  'whole tiles': { ...heads, headDim: 32, valueDim: 32, queryLength: 128, keyLength: 128 },
};

for (const [name, partial] of Object.entries(cases)) {
  optional(`a part's products in one launch: ${name}`, thorough, async () => {
    await expectReference(problem(partial), 1);
  });
}

optional('products in one launch add to those of other parts, equal bits twice', software, async () => {
  const made = problem({ ...heads, queryLength: 40, keyLength: 20 });
  const tuning = partsOf(20, made.request);
  const got = await expectReference(made, 2, tuning);
  expect((await gradientsOf(made, tuning)).got).toEqual(got);
});

/** dO in place, and read from copies: f16, and queries of grouped heads in parts. */
const unusual: Readonly<Record<string, readonly ['f32' | 'f16', queries: number]>> = {
  'f32, all queries': ['f32', 40],
  'f32, in parts': ['f32', 20],
  'f16, in parts': ['f16', 20],
};

for (const [name, [dtype, queries]] of Object.entries(unusual)) {
  optional(`unusual gradients in products of one launch: ${name}`, thorough, async () => {
    const made = problem({ ...grouped, queryLength: 40, keyLength: 40, dtype, mask: [1, 1, 40, 40] });
    // Keys that no query sees, and one that a single query does not see.
    const mask = made.arrays.mask as Float64Array;
    for (let query = 0; query < 40; query++) mask[query * 40 + 39] = 0;
    mask[3 * 40 + 7] = 0;
    const place = (head: number, query: number, column: number): number => (head * 40 + query) * 8 + column;
    made.dOutput[place(0, 3, 1)] = Number.NaN;
    made.dOutput[place(0, 3, 6)] = Number.POSITIVE_INFINITY;
    // Both heads of a group, and a query of the other part.
    made.dOutput[place(6, 0, 0)] = Number.POSITIVE_INFINITY;
    made.dOutput[place(7, 39, 7)] = Number.NEGATIVE_INFINITY;
    made.dOutput[place(263, 19, 4)] = Number.NaN;
    const expected = referenceGradients(made);
    const { got, kernels } = await gradientsOf(made, partsOf(queries, made.request));
    expect(together(kernels)).toHaveLength(40 / queries);
    for (const role of ['q', 'k'] as const) {
      expect(difference(got[role], expected[role]), role).toBeLessThan(toleranceOf(made.request, role));
    }
    expect(signs(got.v)).toEqual(signs(expected.v));
    const finite = (of: Float64Array): Float64Array => of.map((x, i) => (isFinite(got.v, i) ? x : 0));
    expect(difference(finite(got.v), finite(expected.v))).toBeLessThan(toleranceOf(made.request, 'v'));
  });
}

const isFinite = (of: Float64Array, at: number): boolean => Number.isFinite(of[at]);

/** What is not finite: NaN, or the sign of an infinity; 0 elsewhere. */
function signs(of: Float64Array): Float64Array {
  return of.map((x) => (Number.isFinite(x) ? 0 : Math.sign(x)));
}

optional('products that would leave a large device idle are launched one by one', software, async () => {
  const made = problem({ ...heads, batch: 32 });
  const { got, kernels } = await gradientsOf(made);
  expect(together(kernels)).toEqual([]);
  const expected = referenceGradients(made);
  for (const role of roles) expect(difference(got[role], expected[role]), role).toBeLessThan(2e-6);
});
