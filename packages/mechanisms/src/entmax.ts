import {
  add,
  cast,
  custom,
  div,
  eq,
  max,
  maxOver,
  mul,
  scope,
  sqrt,
  sub,
  sum,
  type Tensor,
  where,
} from '@topk-attention/core';
import type { Mechanism, MechanismCall } from '@topk-attention/nn';
import { shown } from './inputs.js';
import { stepWithKeys } from './kept-tokens.js';
import { pairAttention } from './pairs.js';
import { notSoftmax } from './refusals.js';

/** Newton's steps, each at least doubles the right digits; it ends where the support no longer changes. */
const STEPS = 16;

/**
 * Entmax with alpha = 1.5 over the last axis: p = max(z / 2 - tau, 0)^2, with tau such that p sums to 1. Many entries are
 * exactly 0. -inf gives 0, a row of all -inf zeros. tau is found by Newton's method on the length of max(z / 2 - tau, 0),
 * which is convex in tau, so that it is approached from one side; each step solves rows of equal entries at once.
 * The gradient is exact: s (g - (s . g) / sum s) with s = sqrt(p).
 */
export function entmax15(scores: Tensor): Tensor {
  const rows = { axes: [-1], keepDims: true } as const;
  const [weights] = custom(
    'entmax15',
    [scores],
    () => {
      const root = scope(() => {
        const largest = maxOver(scores, rows);
        const level = where(eq(largest, Number.NEGATIVE_INFINITY), 0, largest);
        const halves = mul(sub(scores, level), 0.5);
        let part = max(add(halves, 1), 0);
        let threshold = sub(mul(level, 0), 1);
        for (let step = 0; step < STEPS; step++) {
          const total = sum(part, rows);
          const length = sqrt(sum(mul(part, part), rows));
          const change = div(mul(sub(length, 1), length), where(eq(total, 0), 1, total));
          const next = add(threshold, change);
          const nextPart = max(sub(halves, next), 0);
          for (const old of [total, length, change, threshold, part]) old.dispose();
          [threshold, part] = [next, nextPart];
        }
        const length = sqrt(sum(mul(part, part), rows));
        return div(part, where(eq(length, 0), 1, length));
      });
      return { outputs: [mul(root, root)], saved: [root] };
    },
    (ops, [g], [root]) => {
      const [own, arrived] = [root as Tensor, g as Tensor];
      const along = ops.sum(ops.mul(own, arrived), rows);
      const total = ops.sum(own, rows);
      const mean = ops.div(along, ops.where(ops.eq(total, 0), 1, total));
      return [ops.mul(own, ops.sub(arrived, mean))];
    },
  );
  return weights as Tensor;
}

/**
 * Softmax replaced by entmax with alpha = 1.5 (Peters et al., 2019): most weights of a trained row are exactly 0. Memory in
 * the square of the length. What `sparsefinder` predicts the graph of.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: entmaxAttention() });
 */
export function entmaxAttention(): Mechanism {
  return {
    name: 'entmax',
    takes: ['causal', 'keyLengths', 'mask', 'bias', 'relativeBias', 'dropout', 'groupedHeads', 'decoding'],
    refusals: { zeroShot: notSoftmax },
    attend: attendAll,
    step: (call, state) => stepWithKeys(call, state, attendAll),
  };
}

/** Entmax over all keys. */
export function attendAll(call: MechanismCall): Tensor {
  return scope(() => {
    const scale = call.options.scale ?? (call.query.shape[3] as number) ** -0.5;
    const weigh = (scores: Tensor, visible: Tensor | undefined): Tensor =>
      entmax15(visible === undefined ? scores : where(visible, scores, Number.NEGATIVE_INFINITY));
    const output = pairAttention(
      call,
      mul(cast(call.query, 'f32'), scale),
      shown(call, call.key),
      weigh,
      'none',
    );
    return cast(output, call.value.dtype);
  });
}
