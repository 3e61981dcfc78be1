import type { DeviceLimits } from '@topk-attention/core/backend';
import type { Tf } from '../tf.js';
import type { EngineTraits } from './traits.js';

const common: DeviceLimits = {
  maxBufferBytes: 2 ** 31,
  targetScratchBytes: 2 ** 24,
  minQueryChunk: 16,
  maxQueryChunk: 1024,
  twoLevel: null,
  gatherCost: 16,
  inPlace: false,
};

/**
 * What core's planner may assume about the engine that `tf` runs, for operations composed of primitives; fused
 * operations plan for themselves. The measurements behind the traits: docs/benchmarks.md, "Selection".
 */
export function limitsOf(tf: Tf, { gpu, limits }: EngineTraits): DeviceLimits {
  const all = { ...common, ...limits };
  return gpu === undefined ? all : { ...all, maxBufferBytes: Math.min(all.maxBufferBytes, largest[gpu](tf)) };
}

/** Bytes of the largest tensor that the device can hold. */
const largest: Readonly<Record<NonNullable<EngineTraits['gpu']>, (tf: Tf) => number>> = {
  GPUDevice: (tf) => {
    const engine: object = tf.backend();
    const device = 'device' in engine ? engine.device : undefined;
    const found =
      typeof device === 'object' && device !== null && 'limits' in device ? device.limits : undefined;
    return Math.min(numberOf(found, 'maxBufferSize'), numberOf(found, 'maxStorageBufferBindingSize'));
  },
  // One float per texel: tfjs packs four where it can, which is not everywhere.
  'WebGL context': (tf) => 4 * tf.env().getNumber('WEBGL_MAX_TEXTURE_SIZE') ** 2,
};

function numberOf(limits: unknown, name: string): number {
  const value: unknown =
    typeof limits === 'object' && limits !== null ? Reflect.get(limits, name) : undefined;
  return typeof value === 'number' ? value : Number.POSITIVE_INFINITY;
}
