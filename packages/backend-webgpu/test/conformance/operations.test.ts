import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

// The suite is cut into files that can run beside each other: most of the time goes to compiling kernels for a CPU.
const elsewhere = new Set(['goldens', 'attention', 'feed-forward', 'gradients', 'lifecycle', 'properties']);

await describeOnSoftwareGpu(
  'webgpu',
  (await conformanceCases()).filter(({ group }) => !elsewhere.has(group)),
);
