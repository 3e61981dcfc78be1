import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from './software-gpu.js';

await describeOnSoftwareGpu(
  'webgpu',
  (await conformanceCases()).filter((one) => one.group !== 'properties' && one.group !== 'lifecycle'),
);
