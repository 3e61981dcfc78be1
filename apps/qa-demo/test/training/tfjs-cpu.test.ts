import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { testTraining } from './support.js';

// Or the engine advises others.
tf.env().set('IS_TEST', true);

await testTraining({ name: 'tfjs, cpu', createBackend: () => createTfjsBackend({ tf, engine: 'cpu' }) });
