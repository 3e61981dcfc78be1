import { InvalidArgumentError } from '@topk-attention/app-kit/node';

/** At least 0 and below 1. @throws InvalidArgumentError */
export function fraction(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= 0 && value < 1) return value;
  throw new InvalidArgumentError('Expected a number of at least 0 and below 1.');
}

/** At least 0. @throws InvalidArgumentError */
export function temperature(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError('Expected a number of at least 0.');
}
