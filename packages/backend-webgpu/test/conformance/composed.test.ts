import { conformanceCases, sampleCases } from '@topk-attention/conformance';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

// What core composes from this backend's primitives. operations.test.ts has the primitives, and core's code above them
// is the same on every backend, where all goldens run: a sample of the plain ones, and all with numbers that shaders
// treat in ways of their own.
const special = /nan|infinit|negative-zero|random-bits|tie|dropout/;
const goldens = (await conformanceCases()).filter(({ group }) => group === 'goldens');
await describeOnSoftwareGpu(
  'webgpu, composed',
  sampleCases(goldens, 3, ({ name }) => special.test(name)),
  { fused: false },
);
