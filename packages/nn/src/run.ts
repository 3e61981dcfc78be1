import type { Trace } from './trace.js';

/** The seed for each place in a network that draws random numbers, by its path. */
export type Seeds = (path: string) => number;

/** How a network is applied: passed from layer to layer, never stored. */
export interface Run {
  /** Whether dropout is on. */
  readonly training: boolean;
  /** Needed in training if a layer has a dropout rate above 0. */
  readonly seeds?: Seeds;
  /** Upper bound in bytes for each attention and feed-forward call, not counting its inputs. Default: none. */
  readonly budgetBytes?: number;
  /** Hooks. Without hooks, nothing extra is computed. */
  readonly trace?: Trace;
}

/** No dropout, no hooks. */
export const inference: Run = { training: false };
