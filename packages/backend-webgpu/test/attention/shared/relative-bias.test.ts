import { type AttentionRequest, relativePositionBucket } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { fusedAttention } from '../../../src/attention/fused-attention.js';
import { fusedBackward } from '../../../src/attention/fused-backward.js';
import {
  bucketsOfPositions,
  relativeReach,
  relativeRefusals,
} from '../../../src/attention/shared/relative-bias.js';
import { limitsOf } from '../../../src/limits.js';
import type { Stream } from '../../../src/runtime/stream.js';
import { requestWith } from '../../support/attention-harness.js';
import { PLAIN } from '../../support/recording.js';

const far = { bidirectional: true, maxDistance: 2 ** 20, buckets: 32 };
const near = { bidirectional: false, maxDistance: 20, buckets: 8 };

test.each<[string, Partial<AttentionRequest>, number]>([
  ['none', {}, 0],
  ['bounded by its own distance', { relativeBias: near, queryLength: 30 }, 20],
  ['bounded by the lengths', { relativeBias: far, queryLength: 3, keyLength: 40 }, 43],
  [
    'the same for every step of a decoder',
    { relativeBias: far, queryLength: 3, keyLength: 40, queryStart: 7 },
    43,
  ],
  ['up to queries behind the keys', { relativeBias: far, queryLength: 3, keyLength: 40, queryStart: 60 }, 63],
])('reach of a relative bias: %s', (_, special, reach) => {
  expect(relativeReach(requestWith(special))).toBe(reach);
});

test('each request has the buckets of its own positions', () => {
  // In turn: those of the last request are kept.
  for (const relativeBias of [near, { ...near, buckets: 10 }, { ...near, bidirectional: true }, near]) {
    const request = requestWith({ relativeBias, queryLength: 30 });
    const expected = Array.from({ length: 41 }, (_, at) => relativePositionBucket(at - 20, relativeBias));
    expect(Array.from(bucketsOfPositions(request))).toEqual(expected);
    expect(bucketsOfPositions({ ...request, queryStart: 5 })).toBe(bucketsOfPositions(request));
  }
  expect(bucketsOfPositions(requestWith({}))).toHaveLength(0);
});

test('queries far behind the keys are refused with a relative bias, forward and backward', () => {
  const allocate = () => {
    throw new Error('nothing is allocated before it runs');
  };
  const forward = fusedAttention({} as Stream, PLAIN, allocate);
  const backward = fusedBackward({} as Stream, PLAIN, allocate);
  const most = requestWith({ relativeBias: far, keyLength: 40, queryStart: 40 + 2 ** 16 });
  const beyond = { ...most, queryStart: 41 + 2 ** 16 };
  for (const k of [4, 'all'] as const) {
    for (const operation of [forward, backward]) {
      expect(operation.prepare({ ...most, k, saves: k === 4 }, limitsOf(PLAIN))).not.toHaveProperty(
        'refusals',
      );
      expect(operation.prepare({ ...beyond, k, saves: k === 4 }, limitsOf(PLAIN))).toEqual({
        refusals: ['a relative bias and queries more than 65536 positions behind the last key'],
      });
    }
  }
  expect(relativeRefusals(requestWith({ keyLength: 40, queryStart: 2 ** 20 }))).toEqual([]);
});
