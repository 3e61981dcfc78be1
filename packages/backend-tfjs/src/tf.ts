import type * as core from '@tensorflow/tfjs-core';

/**
 * The caller's own TensorFlow.js: `@tensorflow/tfjs-core` with a backend registered, `@tensorflow/tfjs`,
 * `@tensorflow/tfjs-node` or `@tensorflow/tfjs-node-gpu`. Never imported here, so that there is one copy of it.
 */
export type Tf = typeof core;

export type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
