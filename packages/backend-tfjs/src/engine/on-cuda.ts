import type { Tf } from '../tf.js';

/** Whether tf's engine is TensorFlow on a CUDA device (tfjs-node-gpu). */
export function isOnCuda(tf: Tf): boolean {
  const own: object = tf.backend();
  return 'isUsingGpuDevice' in own && own.isUsingGpuDevice === true;
}
