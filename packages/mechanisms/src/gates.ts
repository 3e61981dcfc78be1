import {
  cast,
  custom,
  exp,
  matmul,
  mul,
  reshape,
  scope,
  sub,
  type Tensor,
  where,
} from '@topk-attention/core';
import { isBefore, isSeen } from './triangles.js';

/**
 * Products of gates between chunks, [N, n + 1 - from, n]: of the entries after e and before p, for p from `from` to n; 0 where
 * e is not before p. Each is a sum of logarithms of one sign: differences of running totals would lose digits with the
 * number of chunks.
 *
 * @param logGates of the entries, [N, n], at most 0
 */
export function fadesBetween(logGates: Tensor, from: number): Tensor {
  const [groups, count] = logGates.shape as readonly [number, number];
  const { backend, dtype } = logGates;
  return scope(() => {
    const before = isBefore(backend, count + 1 - from, count, from);
    const gates = where(before, reshape(logGates, [groups, 1, count]), 0);
    const after = cast(isBefore(backend, count, count), dtype);
    return exp(where(before, matmul(gates, after), Number.NEGATIVE_INFINITY));
  });
}

/**
 * Pairs [N, g, n, n] times the gates after key j up to query i, 0 for later keys. One operation: of what it makes, the
 * result and the gates alone are kept for its gradient. Both are its outputs, so that gradients of gradients find them.
 *
 * @param totals running sums of the logarithms of gates, [N, n]
 */
export function fadedPairs(pairs: Tensor, totals: Tensor): Tensor {
  const [chunks, size] = totals.shape as readonly [number, number];
  const [faded, gates] = custom(
    'fadedPairs',
    [pairs, totals],
    () => {
      const between = scope(() => {
        const differences = sub(reshape(totals, [chunks, size, 1]), reshape(totals, [chunks, 1, size]));
        const seen = isSeen(totals.backend, size);
        return reshape(exp(where(seen, differences, Number.NEGATIVE_INFINITY)), [chunks, 1, size, size]);
      });
      const outputs = [mul(pairs, between), between];
      return { outputs, saved: outputs };
    },
    (ops, [g, ofGates], [made, between]) => {
      // The gradient of the logarithm of a pair's gate: its query's total less its key's.
      const ofTotals = (ofLogs: Tensor): Tensor =>
        ops.sub(ops.sum(ofLogs, { axes: [1, 3] }), ops.sum(ofLogs, { axes: [1, 2] }));
      const own = ofGates && ofTotals(ops.mul(ofGates, between as Tensor));
      if (g === undefined) return [undefined, own];
      const totalsOf = ofTotals(ops.mul(g, made as Tensor));
      return [ops.mul(g, between as Tensor), own === undefined ? totalsOf : ops.add(own, totalsOf)];
    },
  );
  gates?.dispose();
  return faded as Tensor;
}
