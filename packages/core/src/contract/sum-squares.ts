import type { DType } from './dtype.js';

/** Sums of the squares of several tensors, such as all gradients of a step. */
export interface SumSquaresRequest {
  /** Number of elements of each tensor; 0 is possible. */
  readonly sizes: readonly number[];
  /** Of the tensors; the results are f32. */
  readonly dtype: DType;
  readonly saves?: boolean;
}

/** The tensors under their index, '0', '1', ..., of any shape. */
export type SumSquaresInputs<T> = { readonly [index: string]: T };

export interface SumSquaresOutputs<T> {
  /** [n], each in a fixed order of summation. */
  readonly sums: T;
  /** []: the root of their sum. */
  readonly norm: T;
}
