import { aBoolean, aFunction, aNumber, type OptionKinds, optionsWithin } from '@topk-attention/core';
import { type Seeds, type Trace, traceKinds } from '@topk-attention/nn';

/** How a model is applied as a pure function of its parameters. */
export interface ForwardOptions {
  /** Whether to apply dropout, at the configuration's rates. Default false. */
  readonly training?: boolean;
  /** Seeds of the dropout, such as `seedsFrom(step)`; needed in training unless the rates are 0. */
  readonly seeds?: Seeds;
  /** Upper bound in bytes of each attention and each feed-forward call beyond its inputs. Default: none. */
  readonly budgetBytes?: number;
  /** Hooks. Default: none. */
  readonly trace?: Trace;
  /**
   * Whether each block runs again in the backward pass instead of keeping its tensors: less memory for a second forward
   * pass, and the same bits. Default false.
   */
  readonly recompute?: boolean;
}

export const forwardKinds: OptionKinds<ForwardOptions> = {
  training: aBoolean,
  seeds: aFunction<Seeds>(),
  budgetBytes: aNumber,
  trace: optionsWithin(traceKinds),
  recompute: aBoolean,
};
