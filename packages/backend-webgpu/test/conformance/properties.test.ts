import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

// A file of its own, so that `pnpm fuzz --backend webgpu` finds it.
await describeOnSoftwareGpu(
  'webgpu, properties',
  (await conformanceCases()).filter((one) => one.group === 'properties'),
);
