import type { GraphBuilder } from '../onnx/graph-builder.js';

/**
 * weights [..., M, n] x table [..., n, W] where the table may hold NaN and infinities: row j of the table counts only
 * where `isKept` [..., M, n] says so; a plain product would add 0 * NaN from the others. What a kept row adds stays in
 * its column, as in a plain product of only the kept rows: weight * infinity, or NaN.
 *
 * The weights must be 0 where not kept. In the product, infinities are replaced by 1 and -1 and counted separately:
 * those of either sign, those times 0, and NaN.
 */
export function emitLoudProduct(onnx: GraphBuilder, weights: string, isKept: string, table: string): string {
  const zero = onnx.f32(0);
  const infinity = onnx.f32(Number.POSITIVE_INFINITY);
  const isFinite = onnx.op('Less', [onnx.op('Abs', [table]), infinity]);
  const isBad = onnx.cast(onnx.op('Not', [isFinite]), 'f32');
  const signs = onnx.op('Where', [
    onnx.op('Or', [isFinite, onnx.op('IsNaN', [table])]),
    zero,
    onnx.op('Sign', [table]),
  ]);
  const product = onnx.op('MatMul', [weights, onnx.op('Where', [isFinite, table, signs])]);
  const ofWeights = onnx.op('Sign', [weights]);
  const difference = onnx.op('MatMul', [ofWeights, signs]);
  const infinite = onnx.op('MatMul', [onnx.op('Abs', [ofWeights]), onnx.op('Abs', [signs])]);
  const bad = onnx.op('MatMul', [onnx.cast(isKept, 'f32'), isBad]);
  const addWhere = (sum: string, condition: string, value: number): string =>
    onnx.op('Add', [sum, onnx.op('Where', [condition, onnx.f32(value), zero])]);
  // #plus - #minus and #plus + #minus: both are exact, being small whole numbers.
  const hasPlus = onnx.op('Greater', [onnx.op('Add', [infinite, difference]), zero]);
  const hasMinus = onnx.op('Greater', [onnx.op('Sub', [infinite, difference]), zero]);
  const withPlus = addWhere(product, hasPlus, Number.POSITIVE_INFINITY);
  const withMinus = addWhere(withPlus, hasMinus, Number.NEGATIVE_INFINITY);
  return addWhere(withMinus, onnx.op('Greater', [bad, infinite]), Number.NaN);
}
