import type { DType } from './dtype.js';
import { TopKError } from './errors.js';
import { type DropoutWords, dropoutWords } from './request-facts.js';
import type { Shape } from './shape.js';

/** A share of the elements is dropped; which ones, the seed decides. */
export interface Dropping {
  /** From 0 to below 1. */
  readonly rate: number;
  /** A whole number from 0 to 2^53 - 1. */
  readonly seed: number;
}

/** Dropout of the elements of a tensor. Its gradient is the same request, of the gradient. */
export interface DropoutRequest extends Dropping {
  readonly shape: Shape;
  /** f32 or f16 */
  readonly dtype: DType;
  /** Coordinates of the first element among those that the words are drawn for; then `shape` has four axes. */
  readonly offset?: readonly [number, number, number, number];
  readonly saves?: boolean;
}

export interface DropoutInputs<T> {
  readonly x: T;
}

export interface DropoutOutputs<T> {
  /** 0 where an element is dropped, whatever it is; else x times the factor. */
  readonly output: T;
}

/** As attention's `DropoutWords`, for a single comparison of i32. */
export interface DropoutNumbers extends DropoutWords {
  /**
   * An element is dropped when its word is below this, both as i32. The word is that of `randomBits` at (0, 0, 0, i) for
   * element i in row-major order, or with an offset at the coordinates plus it.
   */
  readonly threshold: number;
  /** Factor of a kept element, 1 / (1 - rate), to be rounded to the dtype of x. */
  readonly keptScale: number;
}

export function dropoutNumbers(dropping: Dropping): DropoutNumbers {
  const words = dropoutWords(dropping);
  return { ...words, threshold: words.threshold - 2 ** 31 };
}

/** @throws TopKError INVALID_OPTION */
export function checkDropping(where: string, { rate, seed }: Dropping): void {
  if (rate >= 0 && rate < 1 && Number.isSafeInteger(seed) && seed >= 0) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad dropout`, {
    expected: 'a rate from 0 to below 1 and a whole seed from 0 to 2^53 - 1',
    got: `rate ${rate}, seed ${seed}`,
  });
}
