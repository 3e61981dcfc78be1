import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { createWebGpuBackend } from '@topk-attention/webgpu';
import { testMechanisms } from './support.js';

const software = softwareGpuAvailability();

if (software.available) testMechanisms('webgpu', () => createWebGpuBackend({ onWarning: () => {} }));
else optional('mechanisms on WebGPU', software, () => {});
