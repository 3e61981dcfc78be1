import { TopKError } from '../contract/errors.js';
import { describeValue } from '../tensor/describe-value.js';

/** k as a positive whole number, clamped to `available`. `fix` says what to use to keep all of them. */
export function clampK(where: string, k: number, available: number, fix: string): number {
  if (Number.isInteger(k) && k > 0) return Math.min(k, available);
  throw new TopKError('INVALID_K', `${where}: bad k`, {
    expected: 'a positive whole number',
    got: describeValue(k),
    fix,
  });
}
