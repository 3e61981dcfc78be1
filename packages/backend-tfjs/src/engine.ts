import type { DeviceLimits } from '@topk-attention/core';
import type { Tf } from './tf.js';

/** What the ops of this package need: the caller's tf, which of its engines runs, and what was measured of it. */
export interface Engine {
  readonly tf: Tf;
  /** As tf names it: 'cpu', 'wasm', 'webgl', 'webgpu' or 'tensorflow' (tfjs-node and tfjs-node-gpu). */
  readonly name: string;
  readonly limits: DeviceLimits;
}
