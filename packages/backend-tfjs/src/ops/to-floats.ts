import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';

/**
 * x as float32. tf.cast of integers and bools is a view on the GPU engines: they read as what they were, and programs of
 * the webgpu engine that take them for floats are invalid. A product is made anew. On the cpu engine it is a view too, in
 * which integers beyond 2^24 are not rounded.
 */
export function toFloats({ tf, name }: Engine, x: TfTensor): TfTensor {
  if (x.dtype === 'float32') return tf.clone(x);
  if (name === 'cpu') return tf.tensor(Float32Array.from(x.dataSync()), x.shape, 'float32');
  if (name !== 'webgl' && name !== 'webgpu') return tf.cast(x, 'float32');
  return tf.tidy(() => tf.mul(x, tf.scalar(1)));
}

/** {@link toFloats} on the webgpu engine, whose transpositions and reductions take nothing else; elsewhere x itself. */
export function asFloats(engine: Engine, x: TfTensor): TfTensor {
  return engine.name === 'webgpu' && x.dtype !== 'float32' ? toFloats(engine, x) : x;
}
