import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { testMechanisms } from './support.js';

testMechanisms('tfjs, cpu', () => createTfjsBackend({ tf, engine: 'cpu' }));
