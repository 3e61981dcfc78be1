import type { Trace } from './trace.js';

/** The seed of each place of a network that draws random numbers, by its path. */
export type Seeds = (path: string) => number;

/** How a network is applied: passed from layer to layer, stored by none. */
export interface Run {
  /** Whether dropout is on. */
  readonly training: boolean;
  /** Needed in training where a layer has a dropout rate above 0. */
  readonly seeds?: Seeds;
  /** Upper bound in bytes of each attention and each feed-forward call beyond its inputs. Default: none. */
  readonly budgetBytes?: number;
  /** Hooks. Without them nothing is computed for them. */
  readonly trace?: Trace;
}

/** No dropout, no hooks. */
export const inference: Run = { training: false };
