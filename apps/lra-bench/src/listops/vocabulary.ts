/** The words of ListOps without parentheses. A word's id is its place here plus 1; id 0 pads, id 16 stands for any other. */
export const words: readonly string[] = [
  ...Array.from({ length: 10 }, (_, digit) => String(digit)),
  '[MIN',
  '[MAX',
  '[MED',
  '[SM',
  ']',
];

/** Id of the operator `[MIN`; those of MAX, MED and SM follow. */
export const FIRST_OPERATOR = 11;
export const CLOSE = 15;
/** Id of the digit 0; the others follow. */
export const ZERO = 1;

export type Operator = 'MIN' | 'MAX' | 'MED' | 'SM';
export const operators: readonly Operator[] = ['MIN', 'MAX', 'MED', 'SM'];

/** The value of an operator over digits. */
export function applyOperator(operator: Operator, values: readonly number[]): number {
  if (operator === 'MIN') return Math.min(...values);
  if (operator === 'MAX') return Math.max(...values);
  if (operator === 'SM') return values.reduce((sum, value) => sum + value, 0) % 10;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] as number;
  // The mean of the middle two, truncated.
  return sorted.length % 2 === 1 ? upper : Math.floor((upper + (sorted[middle - 1] as number)) / 2);
}
