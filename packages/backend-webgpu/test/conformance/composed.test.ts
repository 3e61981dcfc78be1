import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

// What core composes from this backend's primitives.
await describeOnSoftwareGpu(
  'webgpu, composed',
  (await conformanceCases()).filter(({ group }) => group === 'goldens'),
  { fused: false },
);
