import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { testCausal } from './causal-tfjs.js';

// Or the engine advises others.
tf.env().set('IS_TEST', true);

// Plain JavaScript loops.
testCausal('cpu', tf, ['llama-3'], { newTokens: 12, isWhole: false, kept: [8], units: [] });
