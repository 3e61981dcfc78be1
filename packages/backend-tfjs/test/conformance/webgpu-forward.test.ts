import { gpuCases } from '../support/gpu-cases.js';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

// As tfjs runs by default: what is small goes to the GPU late or never, and its other ways have to agree.
const groups = new Set(['primitives', 'engine traps', 'gradients']);

await describeOnSoftwareGpu(
  'tfjs, webgpu with small tensors on the CPU',
  (await gpuCases('webgpu')).filter(({ group }) => groups.has(group)),
  { forward: true },
);
