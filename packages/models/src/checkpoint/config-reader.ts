import { TopKError } from '@topk-attention/core';

/** Beyond any model. */
export const MOST_LAYERS = 10_000;

/** Reads values of a JSON object by key; a wrong value throws INVALID_CONFIG and names the file and the key. */
export interface ConfigReader {
  /** Every key of the object. */
  readonly keys: readonly string[];
  /** The raw value; undefined if the key is missing. */
  value(key: string): unknown;
  /** A whole number of at least `minimum`. */
  whole(key: string, minimum: number, fallback?: number): number;
  /** A whole number from 1 to `most`, of things that are made one by one: a file must not ask for more than fits in memory. */
  count(key: string, most: number, fallback?: number): number;
  /** A number from `from` (included) to `to` (excluded); with `isOpen` `from` is excluded too. */
  within(key: string, from: number, to: number, fallback: number, isOpen?: boolean): number;
  boolean(key: string, fallback: boolean): boolean;
  /** A token id or a list of them, at least one. */
  ids(key: string, fallback: number | readonly number[]): readonly number[];
  /** The error for the value of a key. */
  invalid(key: string, expected: string, got: unknown): TopKError;
}

/**
 * The contents of a JSON file of a checkpoint.
 *
 * @param file for messages
 * @throws TopKError FILE_CORRUPT when it is not a JSON object.
 */
export function readConfig(text: string, file: string): ConfigReader {
  const json = parseObject(text, file);
  const invalid = (key: string, expected: string, got: unknown): TopKError =>
    new TopKError('INVALID_CONFIG', `${file}: bad ${key}`, {
      expected,
      got: got === undefined ? 'nothing' : JSON.stringify(got),
      fix: 'Use the file that belongs to the weights',
    });
  return {
    keys: Object.keys(json),
    value: (key) => json[key],
    whole(key, minimum, fallback) {
      const value = json[key] ?? fallback;
      if (typeof value === 'number' && Number.isSafeInteger(value) && value >= minimum) return value;
      throw invalid(key, `a whole number of at least ${minimum}`, value);
    },
    count(key, most, fallback) {
      const value = json[key] ?? fallback;
      if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 1 && value <= most)
        return value;
      throw invalid(key, `a whole number from 1 to ${most}`, value);
    },
    within(key, from, to, fallback, isOpen = false) {
      const value = json[key] ?? fallback;
      if (typeof value === 'number' && (isOpen ? value > from : value >= from) && value < to) return value;
      throw invalid(key, `a number ${isOpen ? 'above' : 'from'} ${from} and below ${to}`, value);
    },
    boolean(key, fallback) {
      const value = json[key] ?? fallback;
      if (typeof value === 'boolean') return value;
      throw invalid(key, 'true or false', value);
    },
    ids(key, fallback) {
      const value = json[key] ?? fallback;
      const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
      const whole = ids.filter((id) => typeof id === 'number' && Number.isSafeInteger(id) && id >= 0);
      if (whole.length > 0 && whole.length === ids.length) return whole.map(Number);
      throw invalid(key, 'a token id or a list of them', value);
    },
    invalid,
  };
}

function parseObject(text: string, file: string): { readonly [key: string]: unknown } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new TopKError('FILE_CORRUPT', `${file}: not JSON`, { cause, fix: 'Download the file again' });
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw new TopKError('FILE_CORRUPT', `${file}: not a JSON object`, { fix: 'Download the file again' });
}
