import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-wasm';
import { testCausal } from './causal-tfjs.js';

testCausal('wasm', tf, ['gpt2', 'qwen3'], { newTokens: 30, isWhole: false, kept: [8, 2], units: [64] });
