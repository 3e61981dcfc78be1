import type { LinearAttentionInputs, LinearAttentionRequest } from '../contract/linear-attention.js';
import { fill, zeros } from '../ops/create.js';
import { add, eq, exp, max, mul, sub, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { maxOver, sum } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { groupsOf, type KeyBlock } from './parts.js';

/** Sums over the keys so far. */
export interface KeySums {
  /** [N, F, Dv]: phi(k) v^T, over exp(peak). */
  readonly sums: Tensor;
  /** [N, F, 1]: phi(k), over exp(peak). */
  readonly total: Tensor;
  /** [N, 1, 1]: the largest log scale so far; with log scales. */
  readonly peak?: Tensor;
}

/** Sums that are replaced must go before the scope of the call closes. */
export function disposeAll(sums: object): void {
  for (const one of Object.values<Tensor>({ ...sums })) one.dispose();
}

/** The sums that a call begins with: those given, or none. */
export function sumsBefore(
  request: LinearAttentionRequest,
  { sumsBefore: sums, totalBefore: total, logScaleBefore, keyFeatures }: LinearAttentionInputs<Tensor>,
): KeySums {
  const { features, valueDim, keyLogScale } = request;
  const groups = groupsOf(request);
  const { backend } = keyFeatures;
  return scope(() => {
    const peak = logScaleBefore
      ? reshape(logScaleBefore, [groups, 1, 1])
      : keyLogScale && fill(backend, Number.NEGATIVE_INFINITY, [groups, 1, 1]);
    return {
      sums: sums ? reshape(sums, [groups, features, valueDim]) : zeros(backend, [groups, features, valueDim]),
      total: total ? reshape(total, [groups, features, 1]) : zeros(backend, [groups, features, 1]),
      ...(peak && { peak }),
    };
  });
}

/** The sums with those of further keys, relative to the largest log scale of all. */
export function sumsWith(before: KeySums, { features, values, logScales }: KeyBlock): KeySums {
  return scope(() => {
    const { peak: old } = before;
    if (logScales === undefined || old === undefined) return added(before, undefined, features, values);
    const peak = scope(() => max(old, maxOver(logScales, { axes: [1], keepDims: true })));
    const scaled = scope(() => mul(features, factorsTo(logScales, peak)));
    return { ...added(before, factorsTo(old, peak), scaled, values), peak };
  });
}

function added(before: KeySums, factor: Tensor | undefined, features: Tensor, values: Tensor): KeySums {
  const [groups, , width] = features.shape as readonly [number, number, number];
  const old = (one: Tensor): Tensor => (factor === undefined ? one : mul(one, factor));
  return {
    sums: scope(() => add(old(before.sums), matmul(features, values, { transposeA: true }))),
    total: scope(() => add(old(before.total), reshape(sum(features, { axes: [1] }), [groups, width, 1]))),
  };
}

/** exp(logScale - peak) with 0 for a log scale of -inf, whatever the peak is. */
export function factorsTo(logScale: Tensor, peak: Tensor): Tensor {
  return scope(() => exp(sub(logScale, where(eq(peak, Number.NEGATIVE_INFINITY), 0, peak))));
}
