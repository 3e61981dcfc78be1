import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { always, testT5 } from './tfjs-parity.js';

testT5('wasm', always, async () => tf, 100);
