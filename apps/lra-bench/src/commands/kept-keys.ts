import { wholeNumber } from '@topk-attention/app-kit/node';

/** A number of kept keys, or `exact` for all. @throws InvalidArgumentError */
export function keptKeys(text: string): number | 'exact' {
  return text === 'exact' ? text : wholeNumber(text);
}
