import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

await describeOnSoftwareGpu(
  'webgpu, lifecycle',
  (await conformanceCases()).filter((one) => one.group === 'lifecycle'),
);
