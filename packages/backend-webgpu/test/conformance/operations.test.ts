import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

// The suite is cut into files that can run beside each other: most of the time goes to compiling kernels for a CPU.
const groups = new Set(['primitives', 'bad input', 'planning']);

await describeOnSoftwareGpu(
  'webgpu',
  (await conformanceCases()).filter(({ group }) => groups.has(group)),
);
