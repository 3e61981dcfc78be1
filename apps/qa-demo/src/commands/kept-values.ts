import { InvalidArgumentError } from '@topk-attention/app-kit/node';
import type { Kept } from '../engine/protocol.js';

/** A whole number of at least 1, or 'exact'. @throws InvalidArgumentError. */
export function kept(text: string): Kept {
  if (text === 'exact') return 'exact';
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value > 0) return value;
  throw new InvalidArgumentError('Expected a whole number of at least 1, or exact.');
}

/** `8,16,exact`, in the order given, without repetitions. @throws InvalidArgumentError. */
export function keptList(text: string): Kept[] {
  return [...new Set(text.split(',').map((each) => kept(each.trim())))];
}
