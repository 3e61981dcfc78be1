import type { DType } from './dtype.js';

/** Mean negative log likelihood of targets under logits [rows, classes]; see `crossEntropy`. */
export interface CrossEntropyRequest {
  readonly rows: number;
  readonly classes: number;
  readonly dtype: DType;
  /** Share of the target that is spread over all classes, from 0 to below 1. */
  readonly labelSmoothing: number;
  readonly saves?: boolean;
}

export interface CrossEntropyInputs<T> {
  /** [rows, classes] */
  readonly logits: T;
  /**
   * i32 [rows]; -1 leaves a row out, whatever its logits hold. Any other target outside [0, classes) makes the loss NaN, and
   * so do a NaN, +inf and nothing but -inf in a row that counts.
   */
  readonly targets: T;
}

export interface CrossEntropyOutputs<T> {
  /** [] */
  readonly loss: T;
  /** [rows, 2]: the largest logit, and log(sum(exp(logit - largest))). Of a row that is left out, anything. */
  readonly statistics: T;
  /** []: how many rows count; the mean is over them. */
  readonly count: T;
}

/** The outputs of the forward pass, and the gradient of the loss, in addition to its inputs. */
export interface CrossEntropyBackwardInputs<T> extends CrossEntropyInputs<T> {
  readonly statistics: T;
  readonly count: T;
  /** [] */
  readonly dLoss: T;
}

export interface CrossEntropyGradients<T> {
  /** [rows, classes]; zeros in rows that are left out, NaN in those whose loss is NaN. */
  readonly logits: T;
}
