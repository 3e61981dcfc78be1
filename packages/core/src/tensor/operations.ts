import type { Backend } from '../contract/backend.js';
import type { DType } from '../contract/dtype.js';
import type { Shape } from '../contract/shape.js';
import type { Tensor } from './tensor.js';

/** A tensor, or a number that takes the other operand's dtype. */
export type Operand = Tensor | number;

type Unary = (x: Tensor) => Tensor;
type Binary = (a: Operand, b: Operand) => Tensor;
type Reduction = (
  x: Tensor,
  options?: { readonly axes?: readonly number[]; readonly keepDims?: boolean },
) => Tensor;

/** All ops that gradients use. Rules receive them as an argument, so that op files need not import each other. */
export interface Operations {
  readonly neg: Unary;
  readonly abs: Unary;
  readonly exp: Unary;
  readonly log: Unary;
  readonly sqrt: Unary;
  readonly rsqrt: Unary;
  readonly tanh: Unary;
  readonly erf: Unary;
  readonly sigmoid: Unary;
  readonly elementIsNaN: Unary;
  readonly logicalNot: Unary;
  readonly add: Binary;
  readonly sub: Binary;
  readonly mul: Binary;
  readonly div: Binary;
  readonly min: Binary;
  readonly max: Binary;
  readonly eq: Binary;
  readonly lt: Binary;
  readonly le: Binary;
  logicalAnd(a: Tensor, b: Tensor): Tensor;
  where(condition: Tensor, a: Operand, b: Operand): Tensor;
  cast(x: Tensor, dtype: DType): Tensor;

  reshape(x: Tensor, shape: Shape): Tensor;
  transpose(x: Tensor, permutation?: readonly number[]): Tensor;
  slice(x: Tensor, starts: readonly number[], sizes: Shape): Tensor;
  narrow(x: Tensor, axis: number, start: number, length: number): Tensor;
  concat(xs: readonly Tensor[], axis: number): Tensor;
  writeInto(dst: Tensor, x: Tensor, starts: readonly number[]): Tensor;

  readonly sum: Reduction;
  readonly maxOver: Reduction;
  readonly mean: Reduction;
  broadcastTo(x: Tensor, shape: Shape): Tensor;
  sumTo(x: Tensor, shape: Shape): Tensor;

  matmul(
    a: Tensor,
    b: Tensor,
    options?: { readonly transposeA?: boolean; readonly transposeB?: boolean },
  ): Tensor;
  readonly softmax: Unary;
  softmaxGradient(dP: Tensor, p: Tensor): Tensor;
  topK(x: Tensor, k: number): { readonly values: Tensor; readonly indices: Tensor };
  takeAlong(x: Tensor, indices: Tensor): Tensor;
  putAlong(indices: Tensor, values: Tensor, n: number): Tensor;
  gatherRows(x: Tensor, indices: Tensor): Tensor;
  scatterAddRows(n: number, indices: Tensor, updates: Tensor): Tensor;

  fill(backend: Backend, value: number | boolean, shape: Shape, dtype?: DType): Tensor;
  zeros(backend: Backend, shape: Shape, dtype?: DType): Tensor;
  arange(backend: Backend, length: number, start?: number): Tensor;
}
