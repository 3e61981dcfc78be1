import type { DeviceLimits } from '@topk-attention/core';
import type { Tf } from './tf.js';

/** The limits of an engine that runs now, as far as its device has less: the GPU engines store a bool in four bytes. */
export function withDevice(tf: Tf, name: string, limits: DeviceLimits): DeviceLimits {
  if (name !== 'webgpu' && name !== 'webgl') return limits;
  const largest = name === 'webgpu' ? largestBuffer(tf) : largestTexture(tf);
  return { ...limits, maxBufferBytes: Math.min(limits.maxBufferBytes, largest), boolBytes: 4 };
}

function largestBuffer(tf: Tf): number {
  const engine: object = tf.backend();
  const device = 'device' in engine ? engine.device : undefined;
  const found =
    typeof device === 'object' && device !== null && 'limits' in device ? device.limits : undefined;
  return Math.min(numberOf(found, 'maxBufferSize'), numberOf(found, 'maxStorageBufferBindingSize'));
}

/** One float in each texel: tfjs packs four where it can, and cannot everywhere. */
function largestTexture(tf: Tf): number {
  return 4 * tf.env().getNumber('WEBGL_MAX_TEXTURE_SIZE') ** 2;
}

function numberOf(limits: unknown, name: string): number {
  const value: unknown =
    typeof limits === 'object' && limits !== null ? Reflect.get(limits, name) : undefined;
  return typeof value === 'number' ? value : Number.POSITIVE_INFINITY;
}
