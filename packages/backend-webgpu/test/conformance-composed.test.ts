import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from './software-gpu.js';

const groups = new Set(['goldens', 'attention', 'feed-forward', 'gradients']);

// What core composes from this backend's primitives.
await describeOnSoftwareGpu(
  'webgpu, composed',
  (await conformanceCases()).filter((one) => groups.has(one.group)),
  { fused: false },
);
