import { TopKError } from '../contract/errors.js';

/** A chunk is a positive whole number, a budget a positive number of bytes. */
export function checkLimits(
  where: string,
  chunkName: string,
  chunk: number | undefined,
  budgetBytes: number | undefined,
): void {
  if (chunk !== undefined && !(Number.isInteger(chunk) && chunk > 0)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad ${chunkName}`, {
      expected: 'a positive whole number',
      got: String(chunk),
    });
  }
  if (budgetBytes !== undefined && !(budgetBytes > 0)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad budgetBytes`, {
      expected: 'a positive number of bytes',
      got: String(budgetBytes),
    });
  }
}
