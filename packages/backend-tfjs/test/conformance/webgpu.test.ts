import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { gpuCases, quickGroups } from '../support/gpu-cases.js';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

const cases = await gpuCases('webgpu');
await describeOnSoftwareGpu(
  'tfjs, webgpu',
  cases.filter(({ group }) => quickGroups.has(group)),
);
await describeOnSoftwareGpu(
  'tfjs, webgpu: the rest',
  cases.filter(({ group }) => !quickGroups.has(group)),
  { needs: thoroughAvailability() },
);
