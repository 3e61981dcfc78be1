import { conformanceCases, sampleCases } from '@topk-attention/conformance';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { describeOnSoftwareGpu } from '../support/software-gpu.js';

// The suite is cut into files that can run beside each other: most of the time goes to compiling kernels for a CPU.
const groups = new Set(['primitives', 'bad input', 'planning']);
const cases = (await conformanceCases()).filter(({ group }) => groups.has(group));

// The fast lane has a quarter of the sizes of each operation.
await describeOnSoftwareGpu('webgpu', sampleCases(cases, thoroughAvailability().available ? 1 : 4));
