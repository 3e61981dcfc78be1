export { TfjsBackend } from './backend.js';
export { createTfjsBackend, type TfjsOptions } from './create.js';
export { type Engine, engineOf } from './engine.js';
export { fromTf, toTf } from './native.js';
export type { TfjsTensor } from './tensor.js';
export type { Tf, TfTensor } from './tf.js';
