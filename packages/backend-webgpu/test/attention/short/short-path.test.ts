import type { AttentionRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect, test } from 'vitest';
import type { ForwardPath } from '../../../src/attention/shared/forward-path.js';
import { recordShort, shortPath } from '../../../src/attention/short/short-path.js';
import { sweepsPathWith } from '../../../src/attention/sweeps/sweeps-path.js';
import { acquireDevice } from '../../../src/runtime/acquire.js';
import { Stream } from '../../../src/runtime/stream.js';
import { arraysFor, expectAnswer, requestWith, runPath } from '../../support/attention-harness.js';
import { SUBGROUPS } from '../../support/recording.js';

const available = softwareGpuAvailability();
let shared: Promise<Stream> | undefined;

function sharedStream(): Promise<Stream> {
  shared ??= acquireDevice().then(({ device }) => new Stream(device));
  return shared;
}

/** On any device: without subgroups, sums pass through workgroup memory. */
const path: ForwardPath = {
  ...shortPath,
  record: (stream, request, views, chunk) =>
    recordShort(stream, request, views, chunk, { ...stream.facts, isSoftware: true, subgroupMinSize: 0 }),
};
const sweeps = sweepsPathWith({ capacity: 64, slowRows: 1 });

const requests: Readonly<Record<string, Partial<AttentionRequest>>> = {
  'causal, more rows than keys': { queryLength: 60, keyLength: 40, causal: true },
  'rows of more than a quarter of the registers': { queryLength: 5, keyLength: 250, k: 9 },
  'key lengths and a relative bias': {
    ...{ batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 8, keyLength: 70, keyLengths: true },
    relativeBias: { bidirectional: false, maxDistance: 16, buckets: 8 },
  },
  'f16, dropout, no lists': {
    ...{ keyLength: 33, dtype: 'f16', saves: false },
    dropout: { rate: 0.25, seed: 2 ** 40 + 2 ** 20 },
  },
};

describe('short', () => {
  for (const [name, special] of Object.entries(requests)) {
    optional(
      `has the bits of the sweeps: ${name}`,
      available,
      async () => {
        const request = requestWith(special);
        const arrays = arraysFor(request);
        const stream = await sharedStream();
        const answer = await runPath(stream, path, request, arrays);
        expectAnswer(request, arrays, answer);
        expect(answer).toEqual(await runPath(stream, sweeps, request, arrays));
        expect(await runPath(stream, path, request, arrays, 3)).toEqual(answer);
      },
      900_000,
    );
  }

  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    optional(
      `keys of ${bad} and without a finite score`,
      available,
      async () => {
        const request = requestWith({ queryLength: 6, keyLength: 40, headDim: 1, valueDim: 4, causal: true });
        const arrays = arraysFor(request);
        const k = Float32Array.from(arrays.k);
        for (const at of [36, 37, 41]) k[at] = bad;
        const stream = await sharedStream();
        const answer = await runPath(stream, path, request, { ...arrays, k });
        expectAnswer(request, { ...arrays, k }, answer);
        expect(answer).toEqual(await runPath(stream, sweeps, request, { ...arrays, k }));
      },
      900_000,
    );
  }

  test('takes less scratch for a smaller chunk, as a budget may want', () => {
    const request = requestWith({ queryHeads: 12, queryLength: 1024, headDim: 64, k: 64 });
    expect(shortPath.scratchBytes(request, 1024, SUBGROUPS)).toBe(12 * 1024 * 4096);
    expect(shortPath.scratchBytes(request, 64, SUBGROUPS)).toBe(12 * 64 * 4096);
    expect(shortPath.largestBytes(request, 64, SUBGROUPS)).toBe(12 * 64 * 4096);
  });

  test('refuses with reasons', () => {
    const reasons = (special: Partial<AttentionRequest>, facts = {}): readonly string[] =>
      shortPath.refuses(requestWith({ queryLength: 1024, headDim: 64, k: 64, ...special }), {
        ...SUBGROUPS,
        ...{ workgroupBytes: 32_768, ...facts },
      });
    expect(reasons({})).toEqual([]);
    expect(reasons({ queryLength: 2048 })).toEqual(['2048 keys exceed 1536']);
    expect(reasons({ queryHeads: 32 })).toHaveLength(1);
    expect(reasons({ queryLength: 512 })).toEqual(['512 keys are below 1024']);
    expect(reasons({}, { subgroupMinSize: 0 })).toEqual(['it needs subgroups of 32']);
    expect(reasons({}, { bindingBytes: 2 ** 19 - 4 })).not.toEqual([]);
  });
});
