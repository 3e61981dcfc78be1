import type { AttentionRequest } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect } from 'vitest';
import { exactPath } from '../../../src/attention/exact/exact-path.js';
import { CallPrograms } from '../../../src/attention/shared/call-programs.js';
import type { ForwardPath } from '../../../src/attention/shared/forward-path.js';
import { storedPath } from '../../../src/attention/stored/stored-path.js';
import { sweepsPathWith } from '../../../src/attention/sweeps/sweeps-path.js';
import { acquireDevice } from '../../../src/runtime/acquire.js';
import { Stream } from '../../../src/runtime/stream.js';
import { arraysFor, requestWith, runPath } from '../../support/attention-harness.js';

const paths: Readonly<Record<string, readonly [ForwardPath, Partial<AttentionRequest>]>> = {
  stored: [storedPath, { causal: true }],
  'stored, in chunks, with every option': [
    storedPath,
    {
      ...{ batch: 2, queryHeads: 4, keyHeads: 2, queryLength: 20, keyLength: 24, keyLengths: true },
      ...{ mask: [1, 1, 20, 24], bias: [2, 1, 1, 24] },
      relativeBias: { bidirectional: true, maxDistance: 8, buckets: 6 },
    },
  ],
  'stored, f16': [storedPath, { dtype: 'f16', saves: false }],
  // One part for each key head.
  sweeps: [
    sweepsPathWith({ capacity: 64, listBytes: 8192, slowRows: 1 }),
    { queryLength: 12, keyLength: 70 },
  ],
  exact: [exactPath, { k: 'all', saves: false, causal: true, keyLengths: true }],
};

describe('programs of a call', () => {
  for (const [name, [path, special]] of Object.entries(paths)) {
    optional(
      `leave the bits of what they captured: ${name}`,
      softwareGpuAvailability(),
      async () => {
        const { device } = await acquireDevice();
        const stream = new Stream(device);
        const request = requestWith(special);
        const programs = new CallPrograms(stream);
        const captured: ForwardPath = {
          ...path,
          record: (on, asked, views, chunk) =>
            programs.run(chunk, views, (given) => path.record(on, asked, given, chunk)),
        };
        const before = stream.counts.launches;
        // Called, captured and run, run on other buffers, run again after being forgotten.
        const blocker = stream.scratch(4 * request.queryLength * request.queryHeads * request.valueDim);
        for (const seed of [1, 2, 3, 4, 5]) {
          if (seed === 3) stream.release(blocker);
          if (seed === 5) programs.forget();
          const arrays = arraysFor(request, seed);
          const expected = await runPath(stream, path, request, arrays, 8);
          expect(await runPath(stream, captured, request, arrays, 8)).toEqual(expected);
        }
        expect((stream.counts.launches - before) % 10).toBe(0);
        device.destroy();
      },
      900_000,
    );
  }
});
