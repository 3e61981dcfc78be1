import { TopKError } from '@topk-attention/core';

/** The error for logits that hold a NaN, or nothing above -Infinity. */
export function noBestToken(where: string, row: number): TopKError {
  return new TopKError('NAN_FOUND', `${where}: the logits of row ${row} are NaN or all -Infinity`, {
    expected: 'numbers above -Infinity',
    got: 'a NaN, or -Infinity for every token',
    fix: 'Check the weights for NaN and infinities',
  });
}
