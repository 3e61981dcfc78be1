import { TopKError } from '@topk-attention/core';

/** The cross-entropy of one row of logits, and whether its largest (of equal ones the first) is that of the label. */
export function gradeOf(
  logits: ArrayLike<number>,
  row: number,
  classes: number,
  label: number,
): { readonly loss: number; readonly isRight: boolean } {
  const own = Array.from({ length: classes }, (_, at) => logits[row * classes + at] as number);
  const peak = Math.max(...own);
  const logTotal = peak + Math.log(own.reduce((sum, one) => sum + Math.exp(one - peak), 0));
  return { loss: logTotal - (own[label] as number), isRight: own.indexOf(peak) === label };
}

/** @throws TopKError NAN_FOUND for a loss of logits that are not finite */
export function requireFinite(loss: number): void {
  if (Number.isFinite(loss)) return;
  throw new TopKError('NAN_FOUND', 'the model gives no finite loss', {
    expected: 'finite logits',
    got: String(loss),
    fix: 'Look at the learning rate, and at ids outside of the table of tokens',
  });
}
