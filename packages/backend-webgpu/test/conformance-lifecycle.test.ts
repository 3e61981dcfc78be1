import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from './software-gpu.js';

await describeOnSoftwareGpu(
  'webgpu, lifecycle',
  (await conformanceCases()).filter((one) => one.group === 'lifecycle'),
);
