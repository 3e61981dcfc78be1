import { conformanceCases, describeConformance, sampleCases } from '@topk-attention/conformance';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { createOnnxRuntimeBackend } from '../src/index.js';

const cases = (await conformanceCases()).filter((one) => one.group !== 'properties');

// The fast lane has a quarter of each kind of case: every case makes graphs of its own. Every trap is of its own kind.
await describeConformance({
  name: 'onnxruntime',
  createBackend: () => createOnnxRuntimeBackend({ threads: 1 }),
  cases: sampleCases(
    cases,
    thoroughAvailability().available ? 1 : 4,
    ({ group }) => group === 'engine traps',
  ),
});
