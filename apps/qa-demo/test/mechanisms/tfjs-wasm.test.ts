import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { testMechanisms } from './support.js';

testMechanisms('tfjs, wasm', () => createTfjsBackend({ tf, engine: 'wasm' }));
