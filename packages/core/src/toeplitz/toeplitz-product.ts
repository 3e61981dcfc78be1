import { runOperation } from '../operation/run.js';
import { requireTensor } from '../tensor/require-tensor.js';
import type { Tensor } from '../tensor/tensor.js';
import { toeplitzProductOperation } from './definition.js';
import { toeplitzProductRequest } from './request.js';

/**
 * y_i = sum_j factors_(j - i) x_j for every column: a Toeplitz matrix for each head, times x, in n log n by a circulant of
 * twice its size (Luo et al., 2021). Both have gradients, which are products of the same kind.
 *
 * Sums are f32, whatever the dtype. Rounding is relative to the largest factors and entries, so that a small sum beside
 * large ones has few digits. A NaN or an infinity in a column makes all of its rows NaN or infinite, and may do so to other
 * columns of its sequence and head; one in the factors does so to all of its head.
 *
 * @param factors f32 or f16 [H, 2 n - 1]: that of distance j - i = l at n - 1 + l
 * @param x [B, H, n, C], of the same dtype
 * @returns [B, H, n, C]
 * @throws TopKError SHAPE_MISMATCH, RANK_MISMATCH, DTYPE_MISMATCH, EMPTY_SEQUENCE, MIXED_BACKENDS, DOES_NOT_FIT,
 * INVALID_OPTION for what is no tensor.
 *
 * @example
 * const factors = fill(backend, 0.01, [8, 199]); // 100 tokens: every row is the mean of all
 * const y = toeplitzProduct(factors, fill(backend, 1, [1, 8, 100, 16]));
 */
export function toeplitzProduct(factors: Tensor, x: Tensor): Tensor {
  const where = 'toeplitzProduct';
  const inputs = { factors, x };
  for (const [name, one] of Object.entries(inputs)) requireTensor(where, name, one);
  const request = toeplitzProductRequest(where, inputs);
  return runOperation(toeplitzProductOperation, { where, request, inputs }).output;
}
