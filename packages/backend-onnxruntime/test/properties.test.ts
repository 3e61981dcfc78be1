import { conformanceCases, describeConformance } from '@topk-attention/conformance';
import { createOnnxRuntimeBackend } from '../src/index.js';

// A file of its own, so that `pnpm fuzz --backend onnxruntime` finds it.
await describeConformance({
  name: 'onnxruntime, properties',
  createBackend: () => createOnnxRuntimeBackend({ threads: 1 }),
  cases: (await conformanceCases()).filter((one) => one.group === 'properties'),
});
