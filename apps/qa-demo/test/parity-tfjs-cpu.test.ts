import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import { always, testT5 } from './tfjs-parity.js';

// Or the engine advises others.
tf.env().set('IS_TEST', true);

// Plain JavaScript loops: the shortest prompts.
testT5('cpu', always, async () => tf, 45);
