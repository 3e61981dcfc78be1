import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { testTraining } from './support.js';

await testTraining({ name: 'tfjs, wasm', createBackend: () => createTfjsBackend({ tf, engine: 'wasm' }) });
