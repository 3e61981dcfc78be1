import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { testTraining } from './support.js';

await testTraining({ name: 'onnxruntime', createBackend: () => createOnnxRuntimeBackend({ threads: 1 }) });
