import type { FeedForwardRequest } from '@topk-attention/core/backend';
import { areAllFinite, LARGEST_SUM, type Magnitude } from '../runtime/inspect.js';

/** True when no intermediate value can be NaN or overflow in any order of multiplication. Magnitudes by role. */
export function areUnitsTame(
  { inputDim, hidden, outputDim, select }: FeedForwardRequest,
  magnitudes: ReadonlyMap<string, Magnitude>,
): boolean {
  if (![...magnitudes.values()].every(areAllFinite)) return false;
  const of = (role: string): number => magnitudes.get(role)?.largest ?? 0;
  const preactivation = inputDim * of('x') * of('wIn') + of('bIn');
  const gate = magnitudes.has('wGate') ? inputDim * of('x') * of('wGate') : 1;
  // No activation is larger than its input.
  const activation = preactivation * gate;
  const output = hidden * activation * of('wOut') + of('bOut');
  const squares = select === 'contribution' ? outputDim * of('wOut') ** 2 : 0;
  const rank = activation * Math.sqrt(squares);
  return Math.max(preactivation, gate, activation, output, squares, rank) <= LARGEST_SUM;
}
