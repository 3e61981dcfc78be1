// A whole life of a backend, and one that nobody disposes of: the process has to end by itself.
import { tensor, topKAttention } from '@topk-attention/core';
import { createWebGpuBackend } from '@topk-attention/webgpu';

const backend = await createWebGpuBackend({ onWarning: () => {} });
const x = tensor(
  backend,
  Float32Array.from({ length: 256 }, (_, i) => Math.sin(i)),
  [1, 2, 16, 8],
);
const { length } = await topKAttention(x, x, x, { k: 4 }).data();
await backend.dispose();

const left = await createWebGpuBackend({ onWarning: () => {} });
tensor(left, [1, 2, 3]);
left.flush();
console.log(`computed ${length}`);
