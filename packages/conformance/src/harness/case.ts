import type { Backend } from '@topk-attention/core';
import type { Capabilities } from '@topk-attention/core/backend';
import type { Tolerance } from './support/assert.js';

export type Group =
  | 'primitives'
  | 'engine traps'
  | 'goldens'
  | 'attention'
  | 'feed-forward'
  | 'gradients'
  | 'properties'
  | 'bad input'
  | 'lifecycle'
  | 'planning'
  | 'training';

/** Tolerances by storage type. `f64` counts only in the reference backend's own f64 mode. */
export interface Tolerances {
  readonly f32: Tolerance;
  readonly f16: Tolerance;
  readonly f64: Tolerance;
}

export interface ConformanceContext {
  /** Shared by the cases of a run. */
  readonly backend: Backend;
  /** A backend of the case's own. The run disposes of it. */
  createBackend(): Promise<Backend>;
  /** The tolerance of what the backend stores 'f32' tensors in. */
  readonly tolerance: Tolerance;
  readonly tolerances: Tolerances;
  /** Random trials per property, and their seed. */
  readonly runs: number;
  readonly seed: number;
  /** Calls after each of which the live bytes must be the same. */
  readonly calls: number;
}

/** One statement about every backend. `run` throws when it does not hold. */
export interface ConformanceCase {
  /** Unique; exclusions refer to it. */
  readonly name: string;
  readonly group: Group;
  /** Acceptance anchors of the paper that the case stands for. */
  readonly anchors?: readonly number[];
  /** Why the case does not apply to a backend with these capabilities; undefined if it does. */
  readonly notFor?: (capabilities: Capabilities) => string | undefined;
  run(context: ConformanceContext): void | Promise<void>;
}

/** `notFor` of cases on f16 tensors. */
export const needsHalves: NonNullable<ConformanceCase['notFor']> = ({ dtypes }) =>
  dtypes.includes('f16') ? undefined : 'has no f16 tensors';
