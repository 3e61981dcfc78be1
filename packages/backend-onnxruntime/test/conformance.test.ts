import { conformanceCases, describeConformance } from '@topk-attention/conformance';
import { createOnnxRuntimeBackend } from '../src/index.js';

await describeConformance({
  name: 'onnxruntime',
  createBackend: () => createOnnxRuntimeBackend({ threads: 1 }),
  cases: (await conformanceCases()).filter((one) => one.group !== 'properties'),
});
