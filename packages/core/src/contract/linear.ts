import type { DType } from './dtype.js';
import type { Activation } from './feed-forward.js';

/** Rows of x times a weight, plus a bias, then an activation. */
export interface LinearRequest {
  readonly rows: number;
  readonly inputDim: number;
  readonly outputDim: number;
  readonly dtype: DType;
  /** True if the weight is stored [outputDim, inputDim]. */
  readonly transposeWeight: boolean;
  readonly hasBias: boolean;
  /** If left out, the output is what would go into it. */
  readonly activation?: Activation;
  /** True to return the pre-activations too, for a backward pass. Only with an activation. */
  readonly keepsPreactivations: boolean;
  readonly saves?: boolean;
}

export interface LinearInputs<T> {
  /** [rows, inputDim] */
  readonly x: T;
  /** [inputDim, outputDim], or transposed. */
  readonly weight: T;
  /** [outputDim] */
  readonly bias?: T;
}

export interface LinearOutputs<T> {
  /** [rows, outputDim] */
  readonly output: T;
  /** [rows, outputDim], if the request keeps them. */
  readonly preactivations?: T;
}

/** Gradients of the weight and the bias of a linear layer that has both. */
export type LinearGradientRequest = Omit<LinearRequest, 'hasBias' | 'activation' | 'keepsPreactivations'>;

export interface LinearGradientInputs<T> {
  /** [rows, inputDim] */
  readonly x: T;
  /** [rows, outputDim]: the gradient of what goes into the activation, if there is one. */
  readonly dOutput: T;
}

export interface LinearGradients<T> {
  /** x^T dOutput, [inputDim, outputDim], or transposed as the weight is. */
  readonly weight: T;
  /** The sum over the rows of dOutput, [outputDim]. */
  readonly bias: T;
}
