import { runMain } from '@topk-attention/app-kit/node';
import { TopKError } from '@topk-attention/core';
import { createWebGpuBackend } from '@topk-attention/webgpu';
import type { Host } from './host.js';
import { createProgram } from './program.js';

// The entry of the bundle for machines with nothing but Node and the package `webgpu`: the same command line with one engine.
const host: Host = {
  version: 'bundle',
  openEngine: async ({ backend: asked }) => {
    if (asked !== 'auto' && asked !== 'webgpu') {
      throw new TopKError('UNSUPPORTED', `this bundle has no backend ${asked}`, {
        expected: 'webgpu',
        got: asked,
      });
    }
    const backend = await createWebGpuBackend();
    const { vendor, architecture, description } = backend.facts;
    const device = description || [vendor, architecture].filter((part) => part !== '').join(' ');
    return {
      backend,
      info: { backend: 'webgpu', description: `WebGPU, ${device || 'unnamed adapter'}` },
      gpuBytes: () => backend.statistics().peakUsedBytes,
    };
  },
};

await runMain((io) => createProgram(io, host));
