import type { AttentionRequest } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { storedPath } from '../src/attention/stored/stored-path.js';
import { type SweepsTuning, sweepsPathWith } from '../src/attention/sweeps/sweeps-path.js';
import { acquireDevice } from '../src/runtime/acquire.js';
import { deviceFacts } from '../src/runtime/facts.js';
import { Stream } from '../src/runtime/stream.js';
import { arraysFor, expectAnswer, requestWith, runPath } from './attention-harness.js';

/** The software GPU takes seconds to compile a product. */
const SLOW_COMPILER_MS = 240_000;

const available = softwareGpuAvailability();
let stream: Stream | undefined;

async function sharedStream(): Promise<Stream> {
  stream ??= new Stream((await acquireDevice({ defaultLimits: true })).device);
  return stream;
}

/** Small lists, so that a few hundred keys do not all fit in one and thresholds matter. */
const small: SweepsTuning = { fewestKeys: 0, capacity: 64 };

function checks(name: string, special: Partial<AttentionRequest>, tuning: SweepsTuning = {}): void {
  optional(
    `sweeps: ${name}`,
    available,
    async () => {
      const shared = await sharedStream();
      const request = requestWith(special);
      const path = sweepsPathWith({ ...small, ...tuning });
      expect(path.refuses(request, deviceFacts(shared.device))).toEqual([]);
      const arrays = arraysFor(request);
      expectAnswer(request, arrays, await runPath(shared, path, request, arrays));
    },
    SLOW_COMPILER_MS,
  );
}

checks('plain', {});
checks('300 keys', { queryLength: 3, keyLength: 300, k: 8 });
checks('300 keys, queries resident', { queryLength: 3, keyLength: 300, k: 8 }, { resident: true });
checks('300 keys, queries not resident', { queryLength: 3, keyLength: 300, k: 8 }, { resident: false });
checks('sample of one in two', { queryLength: 3, keyLength: 700, k: 8 }, { shift: 1, rank: 12 });
checks('sample of one in eight', { queryLength: 70, keyLength: 700, k: 4 }, { shift: 3, rank: 3, shares: 4 });
checks('causal', { queryLength: 300, queryHeads: 1, k: 8, causal: true }, { shift: 1, rank: 8 });
