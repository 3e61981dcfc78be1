import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { testMechanisms } from './support.js';

testMechanisms('onnxruntime', () => createOnnxRuntimeBackend({ threads: 1 }));
