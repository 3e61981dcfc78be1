import { randomBits } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import { chooseSecondProduct, chooseSelection } from '../../src/contract/choices.js';
import {
  type AttentionRequest,
  type DeviceLimits,
  type FeedForwardRequest,
  formatBytes,
  planAttention,
  planFeedForward,
  planFeedForwardBackward,
  printPlan,
  TopKError,
} from '../../src/index.js';
import { largestChunk } from '../../src/operation/fit.js';

const limits: DeviceLimits = {
  maxBufferBytes: 2 ** 31,
  targetScratchBytes: 8 * 2 ** 20,
  minQueryChunk: 1,
  maxQueryChunk: 1024,
  twoLevel: { minKeys: 4096, blockSize: 32 },
  gatherCost: 8,
  inPlace: true,
};

function request(length: number, over: Partial<AttentionRequest> = {}): AttentionRequest {
  return {
    batch: 1,
    queryHeads: 12,
    keyHeads: 12,
    queryLength: length,
    keyLength: length,
    headDim: 64,
    valueDim: 64,
    dtype: 'f32',
    k: 64,
    scale: 0.125,
    causal: false,
    keyLengths: false,
    saves: false,
    ...over,
  };
}

describe('planAttention', () => {
  test('the chunk shrinks with the length, in powers of two, and covers the queries', () => {
    const chunks = [256, 1024, 4096, 16384, 65536].map(
      (length) => planAttention(request(length), limits).queryChunk,
    );
    expect(chunks).toEqual([...chunks].sort((a, b) => b - a));
    for (const chunk of chunks) expect(Number.isInteger(Math.log2(chunk))).toBe(true);
    const plan = planAttention(request(1000), limits, { queryChunk: 300 });
    expect(plan).toMatchObject({ queryChunk: 300, chunks: 4 });
  });

  test('an operation may prefer a chunk; a budget still makes it smaller', () => {
    const path = { scratchBytes: (chunk: number) => 2 ** 20 * chunk, preferredChunk: 3000 };
    expect(planAttention(request(3000), limits, { path }).queryChunk).toBe(3000);
    const output = 12 * 3000 * 64 * 4;
    const tight = planAttention(request(3000), limits, { path, budgetBytes: output + 512 * 2 ** 20 });
    expect(tight.queryChunk).toBe(512);
    expect(tight.bytes.scratch).toBe(512 * 2 ** 20);
  });

  test('bytes are linear in the length for inputs, output and lists', () => {
    const at = (length: number) => planAttention(request(length, { saves: true }), limits).bytes;
    for (const part of ['inputs', 'output', 'saved'] as const)
      expect(at(32768)[part]).toBe(2 * at(16384)[part]);
    expect(at(16384).saved).toBe(12 * 16384 * 64 * 8);
  });

  test('scratch stays near the target at any length', () => {
    for (const length of [2048, 16384, 131072]) {
      const { scratch } = planAttention(request(length), limits).bytes;
      expect(scratch).toBeLessThanOrEqual(Math.max(limits.targetScratchBytes, 12 * length * 12));
    }
  });

  test('chunks grow where each has a cost of its own, to twice the scratch of the most frugal one at most', () => {
    // Turns of a loop beside rows of scores: least with 128 queries.
    const path = { scratchBytes: (chunk: number) => 2 ** 16 * chunk + 2 ** 18 * Math.ceil(4096 / chunk) };
    const { queryChunk, bytes } = planAttention(request(4096), limits, { path });
    expect(queryChunk).toBe(256);
    expect(bytes.scratch).toBeLessThanOrEqual(2 * path.scratchBytes(128));
    // Smaller chunks would take more, however far the target is away.
    const far = { ...limits, targetScratchBytes: 2 ** 20 };
    const steep = { scratchBytes: (chunk: number) => 2 ** 16 * Math.max(chunk, (64 / chunk) * 64) };
    expect(planAttention(request(4096), far, { path: steep }).queryChunk).toBe(64);
  });

  test('of any path: near the target or the most frugal chunk, grows with the budget, refused only if none fits', () => {
    const next = randomBits(7);
    const share = (): number => next() / 2 ** 32;
    for (let trial = 0; trial < 300; trial++) {
      const length = 2 ** Math.floor(13 * share());
      const [shared, ofQuery, ofChunk] = [28, 22, 22].map((most) => Math.floor(2 ** (most * share())));
      const path = {
        scratchBytes: (chunk: number) =>
          (shared as number) + (ofQuery as number) * chunk + (ofChunk as number) * Math.ceil(length / chunk),
      };
      const plannedWith = (budgetBytes?: number) =>
        planAttention(request(length), limits, { path, budgetBytes });
      const { bytes } = plannedWith();
      const chunks = Array.from({ length: 11 }, (_, at) => 2 ** at).filter((chunk) => chunk <= length);
      const least = Math.min(...chunks.map(path.scratchBytes));
      expect(bytes.scratch).toBeLessThanOrEqual(Math.max(limits.targetScratchBytes, 2 * least));
      let before = 0;
      for (const budgetBytes of [0.5, 0.8, 1, 1.2, 2, 4].map((part) => bytes.output + part * least)) {
        if (budgetBytes < bytes.output + least) {
          expect(() => plannedWith(budgetBytes)).toThrow(expect.objectContaining({ code: 'DOES_NOT_FIT' }));
          continue;
        }
        const plan = plannedWith(budgetBytes);
        expect(plan.bytes.total).toBeLessThanOrEqual(budgetBytes);
        expect(plan.queryChunk).toBeGreaterThanOrEqual(before);
        before = plan.queryChunk;
      }
    }
  });

  test('a budget makes the chunk smaller, and too small a budget is refused before anything runs', () => {
    const free = planAttention(request(4096), { ...limits, targetScratchBytes: 2 ** 30 });
    const output = free.bytes.output;
    const tight = planAttention(
      request(4096),
      { ...limits, targetScratchBytes: 2 ** 30 },
      { budgetBytes: output + 2 ** 24 },
    );
    expect(tight.queryChunk).toBeLessThan(free.queryChunk);
    expect(tight.bytes.total).toBeLessThanOrEqual(output + 2 ** 24);
    const refused = () => planAttention(request(4096), limits, { budgetBytes: output + 1000 });
    expect(refused).toThrow(TopKError);
    expect(refused).toThrow(/at most 12 MiB beyond the inputs, got .*Use .*larger budgetBytes/);
  });

  test('a tensor above the largest buffer is refused by name of the limit', () => {
    const refused = () => planAttention(request(4096), { ...limits, maxBufferBytes: 2 ** 20 });
    expect(refused).toThrow(/no tensor above 1 MiB, got one of 12 MiB/);
  });

  test('selection: two levels from the measured number of keys on, never where blocks choose nothing', () => {
    expect(chooseSelection(64, 8192, limits)).toEqual({ levels: 2, blockSize: 32 });
    expect(chooseSelection(64, 2048, limits)).toEqual({ levels: 1 });
    expect(chooseSelection(256, 8192, limits)).toEqual({ levels: 1 });
    expect(chooseSelection('all', 8192, limits)).toEqual({ levels: 1 });
    expect(chooseSelection(64, 8192, { ...limits, twoLevel: null })).toEqual({ levels: 1 });
  });

  test('prints every fact', () => {
    expect(
      printPlan(planAttention(request(1024, { saves: true }), limits, { queryChunk: 128 })),
    ).toMatchInlineSnapshot(`
      "query chunk   128 (8 chunks)
      inputs        9 MiB
      output        3 MiB
      saved lists   6 MiB
      scratch       25.9 MiB
      total         34.9 MiB beyond the inputs"
    `);
  });
});

describe('planFeedForward', () => {
  const layer: FeedForwardRequest = {
    tokens: 4096,
    inputDim: 768,
    hidden: 3072,
    outputDim: 768,
    dtype: 'f32',
    k: 256,
    activation: 'relu',
    gated: false,
    biasIn: false,
    biasOut: false,
    select: 'preactivation',
  };

  test('tokens go in chunks whose scratch stays bounded', () => {
    const plan = planFeedForward(layer, limits);
    expect(plan.tokenChunk).toBeLessThan(4096);
    expect(plan.chunks).toBe(4096 / plan.tokenChunk);
    expect(plan.bytes.saved).toBe(0);
    expect(planFeedForward(layer, limits, { saves: true }).bytes.saved).toBe(4096 * 256 * 8);
  });

  test('what all chunks share does not make them small; a budget does', () => {
    const path = { scratchBytes: (chunk: number) => 2 ** 30 + 2 ** 12 * chunk };
    const plan = planFeedForwardBackward(layer, limits, { path });
    expect(plan).toMatchObject({ tokenChunk: 4096, chunks: 1 });
    const { output } = plan.bytes;
    const budgetBytes = output + plan.bytes.saved + path.scratchBytes(500);
    expect(planFeedForwardBackward(layer, limits, { path, budgetBytes }).tokenChunk).toBe(256);
    // A chunk takes at most as much again.
    const heavy = { scratchBytes: (chunk: number) => 2 ** 30 + 2 ** 20 * chunk };
    expect(planFeedForwardBackward(layer, limits, { path: heavy }).tokenChunk).toBe(1024);
  });

  test('gather only where the kept rows cost less than the whole product', () => {
    expect(chooseSecondProduct(256, 3072, 768, limits)).toBe('gather');
    expect(chooseSecondProduct(512, 3072, 768, limits)).toBe('dense');
    expect(chooseSecondProduct('all', 3072, 768, limits)).toBe('dense');
  });

  test('too small a budget is refused', () => {
    expect(() => planFeedForward(layer, limits, { budgetBytes: 1 })).toThrow(
      /feed-forward: the request does not fit/,
    );
  });

  test('the refusal names bytes that suffice, also where small chunks cost more', () => {
    // Each chunk costs something, so that single tokens take the most.
    const path = {
      scratchBytes: (chunk: number) => 2 ** 14 * chunk + (4096 / chunk) * 2 ** 16,
      largestBytes: (chunk: number) => 2 ** 12 * chunk,
    };
    const { bytes, tokenChunk } = planFeedForwardBackward(layer, limits, { path });
    const least = path.scratchBytes(128);
    expect(least).toBeLessThan(path.scratchBytes(1) / 10);
    let got = '';
    try {
      planFeedForwardBackward(layer, limits, { path, budgetBytes: 1 });
    } catch (error) {
      got = String((error as TopKError).got);
    }
    const needed = bytes.total - path.scratchBytes(tokenChunk) + least;
    expect(got).toBe(formatBytes(needed));
    expect(planFeedForwardBackward(layer, limits, { path, budgetBytes: needed }).bytes.total).toBe(needed);
  });
});

test('where the largest chunk is within the target, no other one is looked at', () => {
  const asked = new Set<number>();
  const path = {
    scratchBytes: (chunk: number): number => {
      asked.add(chunk);
      return 8 * chunk;
    },
  };
  expect(largestChunk({ least: 1, most: 4096, targetBytes: 8 * 4096 }, path, () => true)).toBe(4096);
  expect([...asked]).toEqual([4096]);
  expect(largestChunk({ least: 1, most: 4096, targetBytes: 8 * 4095 }, path, () => true)).toBe(2048);
});
