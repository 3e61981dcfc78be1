import type { AttentionRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { exactPath } from '../../../src/attention/exact/exact-path.js';
import { chooseTile, tileBytes } from '../../../src/attention/exact/tile.js';
import { acquireDevice } from '../../../src/runtime/acquire.js';
import { deviceFacts } from '../../../src/runtime/facts.js';
import { Stream } from '../../../src/runtime/stream.js';
import { arraysFor, errorOf, floatsOf, plainRequest, runExact } from '../../support/exact.js';

const gpu = softwareGpuAvailability();

const shapes: Record<string, Partial<AttentionRequest>> = {
  'one query, one key': { queryLength: 1, keyLength: 1 },
  'lengths below a tile': { queryLength: 5, keyLength: 7 },
  'lengths at the edge of a tile': { queryLength: 64, keyLength: 64, queryHeads: 1, keyHeads: 1 },
  'lengths past the edge of a tile': { queryLength: 65, keyLength: 65, queryHeads: 1, keyHeads: 1 },
  causal: { causal: true, queryLength: 70, keyLength: 70 },
  'causal, more keys than queries': { causal: true, queryLength: 6, keyLength: 71 },
  'causal, rows without a key': { causal: true, queryLength: 12, keyLength: 5 },
  'causal, spare keys': { causal: true, queryLength: 70, keyLength: 140, queryStart: 20 },
  'causal, one query, spare keys, a relative bias': {
    causal: true,
    queryLength: 1,
    keyLength: 71,
    queryStart: 40,
    relativeBias: { bidirectional: false, maxDistance: 16, buckets: 8 },
  },
  'grouped heads in two batches': { batch: 2, queryHeads: 4, keyHeads: 2, keyLength: 11 },
  mask: { mask: [1, 1, 9, 9] },
  'mask of every head': { batch: 2, mask: [2, 2, 9, 9] },
  'mask of keys': { batch: 2, mask: [2, 1, 1, 9] },
  'key lengths': { batch: 2, keyLengths: true, causal: true },
  bias: { bias: [1, 2, 9, 9] },
  'bias of keys': { bias: [1, 1, 1, 9], causal: true },
  'relative bias': {
    queryLength: 20,
    keyLength: 40,
    relativeBias: { bidirectional: true, maxDistance: 16, buckets: 8 },
  },
  'relative bias, queries behind the keys': {
    queryLength: 20,
    keyLength: 40,
    queryStart: 45,
    relativeBias: { bidirectional: true, maxDistance: 128, buckets: 8 },
  },
  'relative bias of a decoder, with key lengths': {
    batch: 2,
    causal: true,
    keyLengths: true,
    relativeBias: { bidirectional: false, maxDistance: 8, buckets: 6 },
  },
  dropout: { batch: 2, dropout: { rate: 0.3, seed: 2 ** 40 + 12345 } },
  sigmoids: { sigmoidShift: -2, batch: 2, queryHeads: 4, keyHeads: 2, causal: true, keyLength: 70 },
  'sigmoids, many queries': { sigmoidShift: -2, mask: [1, 1, 40, 70], queryLength: 40, keyLength: 70 },
  'sigmoids, dropout': {
    sigmoidShift: 0.5,
    batch: 2,
    queryLength: 20,
    keyLengths: true,
    dropout: { rate: 0.3, seed: 2 ** 40 + 12345 },
  },
  'wide heads': { headDim: 128, valueDim: 128, queryHeads: 1, keyHeads: 1 },
  'the widest heads': { headDim: 256, valueDim: 256, queryHeads: 1, keyHeads: 1, queryLength: 3 },
  'other width of values': { headDim: 20, valueDim: 72 },
  'odd widths': { headDim: 13, valueDim: 7 },
  'a scale that is no power of two': { scale: 0.3 },
  f16: { dtype: 'f16', causal: true, queryLength: 33, keyLength: 33, headDim: 32, valueDim: 32 },
  'f16 of odd width': { dtype: 'f16', headDim: 19, valueDim: 18 },
};

let stream: Stream;
beforeAll(async () => {
  if (gpu.available) stream = new Stream((await acquireDevice()).device);
});
afterAll(() => stream?.device.destroy());

const toleranceOf = ({ dtype }: AttentionRequest): number => (dtype === 'f16' ? 1e-3 : 3e-6);

describe('exact attention', () => {
  for (const [name, shape] of Object.entries(shapes)) {
    optional(name, gpu, async () => {
      const request = { ...plainRequest, ...shape };
      expect(exactPath.refuses(request, deviceFacts(stream.device))).toEqual([]);
      expect(await errorOf(stream, request, arraysFor(request))).toBeLessThan(toleranceOf(request));
    });
  }

  optional('hidden keys do not matter, whatever they hold', gpu, async () => {
    const request = { ...plainRequest, causal: true, keyLengths: true, mask: [1, 1, 1, 9] };
    const arrays = arraysFor(request);
    const bad = { ...arrays, k: Float32Array.from(arrays.k), v: Float32Array.from(arrays.v) };
    const hidden = (key: number): boolean => key >= 7 || arrays.mask?.[key] === 0;
    for (let row = 0; row < 18; row++) {
      if (!hidden(row % 9)) continue;
      bad.k.fill(row % 2 ? Number.NaN : Number.POSITIVE_INFINITY, row * 16, row * 16 + 16);
      bad.v.fill(row % 2 ? Number.NEGATIVE_INFINITY : Number.NaN, row * 16, row * 16 + 16);
    }
    expect(Array.from({ length: 9 }, (_, key) => hidden(key)).filter(Boolean).length).toBeGreaterThan(2);
    expect(await runExact(stream, request, bad)).toEqual(await runExact(stream, request, arrays));
  });

  optional('NaN and infinite scores and values', gpu, async () => {
    const request = { ...plainRequest, causal: true, bias: [1, 1, 9, 9] };
    const arrays = arraysFor(request);
    const bias = Float32Array.from(arrays.bias ?? []);
    bias[9 * 3 + 2] = Number.NaN;
    bias[9 * 4 + 1] = Number.POSITIVE_INFINITY;
    bias.fill(Number.NEGATIVE_INFINITY, 9 * 5, 9 * 6); // a row without a valid key
    bias[9 * 6 + 6] = Number.NEGATIVE_INFINITY;
    bias[9 * 2 + 5] = Number.NaN; // hidden
    const v = Float32Array.from(arrays.v);
    v[16 * 7 + 3] = Number.NaN;
    expect(await errorOf(stream, request, { ...arrays, bias, v })).toBeLessThan(3e-6);
  });

  optional('scores at the ends of the range of f32', gpu, async () => {
    const request = { ...plainRequest, bias: [1, 1, 1, 9], scale: 1 };
    const arrays = { ...arraysFor(request), q: new Float32Array(288) };
    const lowest = -3.4028234663852886e38;
    for (const value of [lowest, -lowest]) {
      const bias = new Float32Array(9).fill(lowest);
      bias[4] = value;
      expect(await errorOf(stream, request, { ...arrays, bias })).toBeLessThan(3e-6);
    }
  });

  optional('f16 outputs: the nearest, halfway cases to even', gpu, async () => {
    const request: AttentionRequest = {
      ...plainRequest,
      ...{ queryHeads: 1, keyHeads: 1, queryLength: 1, keyLength: 2, headDim: 4, valueDim: 4, dtype: 'f16' },
    };
    // Two keys of equal scores: the mean of their values, each halfway between two halves.
    const step = 2 ** -10;
    const v = Float32Array.of(1, 1 + step, 65472, 2 ** -24, 1 + step, 1 + 2 * step, 65504, 2 ** -23);
    const arrays = { ...arraysFor(request), q: new Float32Array(4), v };
    const means = [1, 1 + 2 * step, 65472, 2 ** -23];
    expect([...floatsOf(await runExact(stream, request, arrays), 'f16')]).toEqual(means);
  });

  optional('equal bits twice, and no bytes kept', gpu, async () => {
    const request = { ...plainRequest, queryLength: 40, keyLength: 90, causal: true };
    const first = await runExact(stream, request, arraysFor(request));
    const pooled = stream.pool.pooledBytes;
    expect(await runExact(stream, request, arraysFor(request))).toEqual(first);
    expect(stream.pool.pooledBytes).toBe(pooled);
  });
});

// A software adapter gets the smallest tile; the others are run here by name.
describe('tiles of hardware', () => {
  const base = { ...plainRequest, queryHeads: 1, keyHeads: 1, queryLength: 67, keyLength: 70, causal: true };
  const cases: Record<string, { request: AttentionRequest; workgroupBytes: number }> = {
    'default limits': { request: { ...base, mask: [1, 1, 1, 70] }, workgroupBytes: 16384 },
    'default limits, wide heads': {
      request: { ...base, valueDim: 256, queryLength: 34 },
      workgroupBytes: 16384,
    },
    'heads of 64': { request: { ...base, headDim: 64, valueDim: 64 }, workgroupBytes: 32768 },
    sigmoids: { request: { ...base, sigmoidShift: -3, headDim: 64, valueDim: 64 }, workgroupBytes: 32768 },
    'heads of 96': { request: { ...base, headDim: 96, valueDim: 96 }, workgroupBytes: 32768 },
  };
  for (const [name, { request, workgroupBytes }] of Object.entries(cases)) {
    optional(name, gpu, async () => {
      const facts = { ...deviceFacts(stream.device), workgroupBytes, isSoftware: false };
      expect(await errorOf(stream, request, arraysFor(request), { facts })).toBeLessThan(3e-6);
    });
  }
});

// Few queries share their keys among workgroups where the device is no CPU.
describe('segments of the keys', () => {
  const base = { ...plainRequest, queryLength: 3, keyLength: 1100, headDim: 8, valueDim: 12 };
  const cases: Record<string, Partial<AttentionRequest>> = {
    decoding: { queryLength: 1, causal: true },
    'causal, lengths that end in the first segment': { causal: true, batch: 2, keyLengths: true },
    'mask, bias, grouped heads': {
      ...{ queryHeads: 4, keyHeads: 2, mask: [1, 1, 1, 1100], bias: [1, 4, 1, 1100] },
    },
    'relative bias and dropout': {
      relativeBias: { bidirectional: true, maxDistance: 20, buckets: 8 },
      dropout: { rate: 0.3, seed: 5 },
    },
    f16: { dtype: 'f16' },
    sigmoids: { sigmoidShift: -4, causal: true, batch: 2, keyLengths: true },
    'sigmoids, dropout': { sigmoidShift: -4, dropout: { rate: 0.3, seed: 5 } },
  };
  for (const [name, change] of Object.entries(cases)) {
    optional(name, gpu, async () => {
      const request: AttentionRequest = { ...base, ...change };
      const facts = { ...deviceFacts(stream.device), isSoftware: false };
      const whole = exactPath.scratchBytes(request, 1, { ...facts, isSoftware: true });
      expect(exactPath.scratchBytes(request, 1, facts)).toBeGreaterThan(whole);
      const arrays = {
        ...arraysFor(request),
        ...(request.keyLengths && { keyLengths: Int32Array.of(1100, 40) }),
      };
      expect(await errorOf(stream, request, arrays, { facts })).toBeLessThan(toleranceOf(request));
    });
  }

  optional('a NaN, a row without keys', gpu, async () => {
    const request: AttentionRequest = { ...base, mask: [1, 1, 3, 1100] };
    const facts = { ...deviceFacts(stream.device), isSoftware: false };
    const arrays = arraysFor(request);
    const k = Float32Array.from(arrays.k);
    k[8 * 900] = Number.NaN;
    const mask = Float32Array.from(arrays.mask ?? []).fill(0, 1100, 2200);
    mask[900] = 1;
    mask[2200 + 900] = 0;
    expect(await errorOf(stream, request, { ...arrays, k, mask }, { facts })).toBeLessThan(3e-6);
  });
});

optional('heads and queries are split where a binding is small', gpu, async () => {
  const request = {
    ...plainRequest,
    queryHeads: 6,
    keyHeads: 3,
    queryLength: 70,
    keyLength: 20,
    headDim: 20,
    valueDim: 72,
    causal: true,
  };
  const facts = { ...deviceFacts(stream.device), bindingBytes: 20 * 72 * 4 + 256 };
  expect(exactPath.refuses(request, facts)).toEqual([]);
  expect(await errorOf(stream, request, arraysFor(request), { facts })).toBeLessThan(3e-6);
});

optional('a part binds no more key heads than fit', gpu, async () => {
  const request = { ...plainRequest, queryHeads: 8, keyHeads: 2, queryLength: 6, keyLength: 20 };
  // One key head fits, and queries of three heads of its four: parts of three would see two key heads.
  const facts = { ...deviceFacts(stream.device), bindingBytes: 20 * 16 * 4 + 256 };
  expect(exactPath.refuses(request, facts)).toEqual([]);
  const launch = vi.spyOn(stream, 'launch');
  expect(await errorOf(stream, request, arraysFor(request), { facts })).toBeLessThan(3e-6);
  const sizes = launch.mock.calls.flatMap(([{ buffers }]) => buffers.map(({ size }) => size));
  launch.mockRestore();
  expect(Math.max(...sizes)).toBeLessThanOrEqual(facts.bindingBytes);
});

optional('what it does not take', gpu, async () => {
  const { device } = await acquireDevice({ defaultLimits: true });
  const facts = deviceFacts(device);
  const reasons = (change: Partial<AttentionRequest>): readonly string[] =>
    exactPath.refuses({ ...plainRequest, ...change }, facts);
  expect(reasons({ k: 4 })).toEqual(['it keeps all keys, not 4']);
  expect(reasons({ headDim: 300 })).toEqual(['headDim 300 exceeds 256']);
  expect(reasons({ dtype: 'f16', valueDim: 7 })).toEqual(['f16 rows of odd length 7 share words']);
  expect(reasons({ keyLength: 2 ** 22 })[0]).toContain('exceed a binding of 134217728 bytes');
  expect(reasons({ mask: [1, 2, 2 ** 13, 2 ** 13] })).toEqual([
    'the mask exceeds a binding of 134217728 bytes',
  ]);
  const relativeBias = { bidirectional: true, maxDistance: 2 ** 20, buckets: 32 };
  const many = { queryHeads: 64, keyHeads: 64, queryLength: 2 ** 19, keyLength: 2 ** 19 };
  expect(reasons({ ...many, relativeBias })).toEqual([
    'the relative bias exceeds a binding of 134217728 bytes',
  ]);
  device.destroy();
});

test('tiles stay within the memory that a device has', () => {
  for (const workgroupBytes of [16384, 32768, 49152]) {
    for (const valueDim of [1, 16, 64, 65, 128, 256]) {
      for (const queryLength of [1, 1000]) {
        const facts = { workgroupBytes, workgroupInvocations: 256, isSoftware: false };
        const tile = chooseTile({ valueDim, queryLength }, facts);
        expect(tile).toBeDefined();
        if (tile) expect(tileBytes(tile, valueDim)).toBeLessThanOrEqual(workgroupBytes);
      }
    }
  }
});
