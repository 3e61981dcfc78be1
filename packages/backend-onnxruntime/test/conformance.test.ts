import { describeConformance } from '@topk-attention/conformance';
import { createOnnxRuntimeBackend } from '../src/index.js';

await describeConformance({
  name: 'onnxruntime',
  createBackend: () => createOnnxRuntimeBackend({ threads: 1 }),
});
