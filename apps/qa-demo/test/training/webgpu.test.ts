import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { createWebGpuBackend } from '@topk-attention/webgpu';
import { testTraining } from './support.js';

const software = softwareGpuAvailability();

if (software.available) {
  // A step takes half a second there.
  const createBackend = () => createWebGpuBackend({ onWarning: () => {} });
  await testTraining({ name: 'webgpu', createBackend }, 5);
} else {
  optional('training on WebGPU', software, () => {});
}
