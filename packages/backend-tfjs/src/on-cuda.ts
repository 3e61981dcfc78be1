import type { Engine } from './engine.js';

/**
 * Whether tfjs-node computes on a CUDA device (tfjs-node-gpu): TensorFlow then works behind the caller and adds with
 * float atomics. With `doctor()` the only place that looks at the device.
 */
export function isOnCuda({ tf, name }: Engine): boolean {
  if (name !== 'tensorflow') return false;
  const own: object = tf.backend();
  return 'isUsingGpuDevice' in own && own.isUsingGpuDevice === true;
}
