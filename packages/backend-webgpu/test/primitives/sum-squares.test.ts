import { sumSquares } from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { fromGpuBuffer } from '../../src/index.js';
import { BUFFER_USAGE } from '../../src/runtime/usage.js';
import { openTestBackend } from '../support/software-gpu.js';

/** 1 as f16. */
const ONE = 0x3c00;

optional('the half behind an odd number of halves is not summed', softwareGpuAvailability(), async () => {
  const backend = await openTestBackend();
  const buffer = backend.device.createBuffer({
    size: 16,
    usage: BUFFER_USAGE.STORAGE | BUFFER_USAGE.COPY_SRC | BUFFER_USAGE.COPY_DST,
  });
  backend.device.queue.writeBuffer(buffer, 0, new Uint16Array(8).fill(ONE));
  const x = fromGpuBuffer(backend, buffer, { shape: [3], dtype: 'f16' });
  const { sums, norm } = sumSquares([x]);
  expect(Array.from((await sums.data()) as Float32Array)).toEqual([3]);
  for (const one of [x, sums, norm]) one.dispose();
  buffer.destroy();
});
