import { conformanceCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

await describeOnSoftwareGpu(
  'webgpu, engine traps',
  (await conformanceCases()).filter((one) => one.group === 'engine traps'),
);
