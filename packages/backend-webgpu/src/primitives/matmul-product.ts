import type { Binding } from '../runtime/binding.js';
import type { Epilogue } from './matmul-epilogue.js';
import type { OperandSums } from './matmul-operand-sums.js';

/** Matrices in a binding: element [i, j] as stored of matrix n lies at `base + n * batchStep + i * stride + j`. */
export interface Operand extends Binding {
  /** 0: one matrix for the whole batch. */
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
  /** True to add to what out holds. For f32. Default false. */
  readonly adds?: boolean;
  /** For f32: b is read times this, and as 0 where it is NaN or infinite. Default: as it is. */
  readonly safeFactor?: number;
  /** What the sums go through before they are written. For f32, without `adds`. Default: nothing. */
  readonly epilogue?: Epilogue;
  /** Sums of an operand beside the product. For one product of f32, in tiles (`launchTiled`). Default: none. */
  readonly sums?: OperandSums;
}

/** Uniforms of a kernel with operands `a`, `b` and `out`. */
export const productUniforms = {
  batch: 'u32',
  rows: 'u32',
  inner: 'u32',
  columns: 'u32',
  a_batch: 'u32',
  a_stride: 'u32',
  b_batch: 'u32',
  b_stride: 'u32',
  out_batch: 'u32',
  out_stride: 'u32',
  /** Terms of the sums per workgroup. */
  terms: 'u32',
  /** See `Product.safeFactor`. */
  b_factor: 'f32',
} as const;

export function uniformsOf(product: Product, terms: number): Record<keyof typeof productUniforms, number> {
  const { batch, rows, inner, columns, a, b, out } = product;
  return {
    batch,
    rows,
    inner,
    columns,
    a_batch: a.batchStep,
    a_stride: a.stride,
    b_batch: b.batchStep,
    b_stride: b.stride,
    out_batch: out.batchStep,
    out_stride: out.stride,
    terms,
    b_factor: product.safeFactor ?? 1,
  };
}
