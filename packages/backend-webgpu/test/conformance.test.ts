import { conformanceCases, describeConformance } from '@topk-attention/conformance';
import { createWebGpuBackend } from '../src/index.js';

await describeConformance({
  name: 'webgpu',
  createBackend: () => createWebGpuBackend({ onWarning: () => {} }),
  cases: (await conformanceCases()).filter(
    (one) => one.group === 'primitives' || one.group === 'engine traps',
  ),
});
