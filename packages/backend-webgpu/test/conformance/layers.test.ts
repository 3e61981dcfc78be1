import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

const groups = new Set(['goldens', 'attention', 'feed-forward', 'gradients']);

await describeOnSoftwareGpu(
  'webgpu, layers',
  (await conformanceCases()).filter(({ group }) => groups.has(group)),
);
