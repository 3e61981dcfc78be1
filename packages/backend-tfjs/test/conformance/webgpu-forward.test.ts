import { sampleCases } from '@topk-attention/conformance';
import { gpuCases } from '../support/gpu-cases.js';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

// As tfjs runs by default: what is small goes to the GPU late or never, and its other ways have to agree. A sample of
// the shapes that webgpu.test.ts has on the GPU; cpu.test.ts has all shapes on the CPU.
const groups = new Set(['primitives', 'engine traps', 'gradients']);

await describeOnSoftwareGpu(
  'tfjs, webgpu with small tensors on the CPU',
  sampleCases(
    (await gpuCases('webgpu')).filter(({ group }) => groups.has(group)),
    3,
    ({ group }) => group === 'engine traps',
  ),
  { forward: true },
);
