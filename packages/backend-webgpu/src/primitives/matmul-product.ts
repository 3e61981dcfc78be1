import type { Span } from '../runtime/kernel.js';

/** Matrices in a binding: element [i, j] as stored of matrix n lies at `base + n * batchStep + i * stride + j`. */
export interface Operand {
  readonly span: Span;
  readonly base: number;
  /** 0: one matrix for all. */
  readonly batchStep: number;
  readonly stride: number;
}

/**
 * A batch of products out[n] = a[n] b[n] (or out[n] += a[n] b[n]) whose operands can be bound. a is stored as [rows, inner], transposed as
 * [inner, rows]; b as [inner, columns], transposed as [columns, inner].
 */
export interface Product {
  readonly dtype: 'f32' | 'f16';
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly batch: number;
  readonly rows: number;
  readonly inner: number;
  readonly columns: number;
  readonly a: Operand;
  readonly b: Operand;
  readonly out: Operand;
  /** True: added to what out holds. For f32. Default false. */
  readonly adds?: boolean;
}

/** WGSL of a uniform block that holds what `productWords` gives. */
export const productParams = `
struct Operand { base: u32, batch_step: u32, stride: u32 }
struct Params {
  batch: u32, rows: u32, inner: u32, columns: u32,
  a_base: u32, a_batch: u32, a_stride: u32,
  b_base: u32, b_batch: u32, b_stride: u32,
  out_base: u32, out_batch: u32, out_stride: u32,
  extra: u32,
}
@group(0) @binding(0) var<uniform> params: Params;`;

export function productWords(product: Product, extra = 0): number[] {
  const { batch, rows, inner, columns, a, b, out } = product;
  const places = [a, b, out].flatMap(({ base, batchStep, stride }) => [base, batchStep, stride]);
  return [batch, rows, inner, columns, ...places, extra];
}
