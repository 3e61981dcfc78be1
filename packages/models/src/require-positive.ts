import { describeValue, TopKError } from '@topk-attention/core';

/** @throws TopKError INVALID_OPTION for anything but a positive whole number. */
export function requirePositive(where: string, name: string, value: number): void {
  if (Number.isSafeInteger(value) && value > 0) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: 'a positive whole number',
    got: describeValue(value),
  });
}
