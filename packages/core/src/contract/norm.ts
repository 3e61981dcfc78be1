import type { DType } from './dtype.js';

/** A norm over the last axis of x, [..., width]: layer norm, or RMS norm, which does not subtract the mean. */
export interface NormRequest {
  readonly kind: 'layer' | 'rms';
  readonly rows: number;
  readonly width: number;
  readonly dtype: DType;
  readonly hasBias: boolean;
  /** Added to the mean square. */
  readonly epsilon: number;
  readonly saves?: boolean;
}

export interface NormInputs<T> {
  /** [rows, width] */
  readonly x: T;
  /** [width] */
  readonly weight: T;
  /** [width] */
  readonly bias?: T;
}

export interface NormOutputs<T> {
  /** [rows, width] */
  readonly output: T;
}

/** The output's gradient in addition to x and weight. */
export interface NormBackwardInputs<T> {
  readonly x: T;
  readonly weight: T;
  readonly dOutput: T;
}

/** Gradients of the inputs, including the bias if given. */
export interface NormGradients<T> {
  readonly x: T;
  readonly weight: T;
  readonly bias?: T;
}
