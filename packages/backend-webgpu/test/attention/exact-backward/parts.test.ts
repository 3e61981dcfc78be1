import type { AttentionRequest } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { tileTogether } from '../../../src/attention/exact-backward/part-products.js';
import { EXACT_BACKWARD_TUNING, headRunsOf, partSize } from '../../../src/attention/exact-backward/parts.js';
import type { DeviceFacts } from '../../../src/runtime/facts.js';
import { problem } from '../../support/backward.js';
import { PLAIN } from '../../support/recording.js';

const MiB = 2 ** 20;

const requestOf = (partial: Partial<AttentionRequest>): AttentionRequest =>
  problem({ k: 'all', queryLength: 1, keyLength: 1, ...partial }).request;

/** The heads of a small encoder with 32 texts; and of a layer of 12 heads. */
const small = (tokens: number): AttentionRequest => ({
  ...requestOf({ batch: 32, headDim: 1, valueDim: 1 }),
  ...{ queryLength: tokens, keyLength: tokens, headDim: 32, valueDim: 32 },
});
const wide = (tokens: number): AttentionRequest => ({
  ...small(tokens),
  ...{ batch: 1, queryHeads: 12, keyHeads: 12, headDim: 64, valueDim: 64 },
});

const deviceOf = (bindingBytes: number): DeviceFacts => ({ ...PLAIN, bindingBytes, storageBuffers: 10 });

/** Parts, the size of the largest, MiB of its scores and products, and how many of the parts take one launch for their products. */
function planOf(request: AttentionRequest, bindingBytes: number): string {
  const facts = deviceOf(bindingBytes);
  const size = partSize(request, request.queryLength, facts, EXACT_BACKWARD_TUNING);
  const parts = headRunsOf(request, size).flat();
  const together = parts.filter((part) => tileTogether(facts, request, part) !== undefined).length;
  const bytes = 8 * size.heads * size.queries * request.keyLength;
  return `${parts.length} parts of ${size.heads} x ${size.queries}, ${bytes / MiB} MiB, ${together} together`;
}

test('parts on devices of several sizes', () => {
  const plans: Record<string, string> = {};
  for (const [name, bindingBytes] of Object.entries({
    '128 MiB': 2 ** 27,
    '1 GiB': 2 ** 30,
    '2 GiB': 2 ** 31 - 4,
    '4 GiB': 2 ** 32 - 4,
  })) {
    for (const tokens of [512, 1024, 2048, 4096])
      plans[`${name}, small, ${tokens}`] = planOf(small(tokens), bindingBytes);
    for (const tokens of [4096, 16_384])
      plans[`${name}, wide, ${tokens}`] = planOf(wide(tokens), bindingBytes);
  }
  expect(plans).toMatchInlineSnapshot(`
    {
      "1 GiB, small, 1024": "2 parts of 64 x 512, 256 MiB, 2 together",
      "1 GiB, small, 2048": "8 parts of 32 x 512, 256 MiB, 0 together",
      "1 GiB, small, 4096": "32 parts of 16 x 512, 256 MiB, 0 together",
      "1 GiB, small, 512": "1 parts of 64 x 512, 128 MiB, 1 together",
      "1 GiB, wide, 16384": "96 parts of 4 x 512, 256 MiB, 0 together",
      "1 GiB, wide, 4096": "7 parts of 12 x 640, 240 MiB, 0 together",
      "128 MiB, small, 1024": "3 parts of 22 x 1024, 176 MiB, 3 together",
      "128 MiB, small, 2048": "10 parts of 13 x 1024, 208 MiB, 0 together",
      "128 MiB, small, 4096": "40 parts of 13 x 512, 208 MiB, 0 together",
      "128 MiB, small, 512": "1 parts of 64 x 512, 128 MiB, 1 together",
      "128 MiB, wide, 16384": "104 parts of 3 x 640, 240 MiB, 0 together",
      "128 MiB, wide, 4096": "7 parts of 12 x 640, 240 MiB, 0 together",
      "2 GiB, small, 1024": "2 parts of 64 x 512, 256 MiB, 2 together",
      "2 GiB, small, 2048": "4 parts of 64 x 512, 512 MiB, 4 together",
      "2 GiB, small, 4096": "12 parts of 22 x 1024, 704 MiB, 12 together",
      "2 GiB, small, 512": "1 parts of 64 x 512, 128 MiB, 1 together",
      "2 GiB, wide, 16384": "32 parts of 12 x 512, 768 MiB, 0 together",
      "2 GiB, wide, 4096": "4 parts of 12 x 1024, 384 MiB, 4 together",
      "4 GiB, small, 1024": "2 parts of 64 x 512, 256 MiB, 2 together",
      "4 GiB, small, 2048": "4 parts of 64 x 512, 512 MiB, 4 together",
      "4 GiB, small, 4096": "12 parts of 22 x 1024, 704 MiB, 12 together",
      "4 GiB, small, 512": "1 parts of 64 x 512, 128 MiB, 1 together",
      "4 GiB, wide, 16384": "32 parts of 12 x 512, 768 MiB, 0 together",
      "4 GiB, wide, 4096": "4 parts of 12 x 1024, 384 MiB, 4 together",
    }
  `);
});

test('parts cover every query of every head once, the last queries first, within the binding', () => {
  const requests = [
    small(1000),
    small(3001),
    wide(5000),
    { ...wide(777), keyHeads: 4 },
    { ...wide(100), keyLength: 70_001, causal: true },
  ];
  for (const request of requests) {
    for (const bindingBytes of [2 ** 24, 2 ** 27, 2 ** 31 - 4]) {
      const facts = deviceOf(bindingBytes);
      const size = partSize(request, request.queryLength, facts, EXACT_BACKWARD_TUNING);
      const seen = new Set<number>();
      for (const run of headRunsOf(request, size)) {
        let end = request.queryLength;
        for (const part of run) {
          expect(part.firstQuery + part.queries).toBe(end);
          end = part.firstQuery;
          expect(4 * part.heads * part.queries * request.keyLength).toBeLessThanOrEqual(bindingBytes);
          for (let head = 0; head < part.heads; head++) seen.add((part.firstHead + head) * 1e6 + end);
        }
        expect(end).toBe(0);
      }
      const rows = Math.ceil(request.queryLength / size.queries);
      expect(seen.size).toBe(request.batch * request.queryHeads * rows);
    }
  }
});

test('a chunk bounds the rows of a part, on large devices too', () => {
  const request = small(4096);
  const size = partSize(request, 16, deviceOf(2 ** 32 - 4), EXACT_BACKWARD_TUNING);
  expect(size.heads * size.queries).toBeLessThanOrEqual(16 * 64);
});
