import { InvalidArgumentError } from '@commander-js/extra-typings';
import type { RewriteOptions } from '../rewrite-model.js';

export function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('It is no whole number of at least 1.');
  return value;
}

export function wholes(text: string): readonly number[] {
  return text.split(',').map(whole);
}

export function fraction(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError('It is no number.');
  return value;
}

export type Named = { readonly [name: string]: number };

export function named(text: string, before: Named = {}): Named {
  const end = text.lastIndexOf('=');
  if (end < 1) throw new InvalidArgumentError('It is not NAME=NUMBER.');
  return { ...before, [text.slice(0, end)]: whole(text.slice(end + 1)) };
}

export interface RewriteFlags {
  readonly k?: number | undefined;
  readonly chunkBytes?: number | undefined;
  readonly fixed?: Named | undefined;
  readonly at?: Named | undefined;
  readonly strict?: true | undefined;
  readonly feedForward?: true | undefined;
}

export function optionsOf({ k, chunkBytes, fixed, at, strict, feedForward }: RewriteFlags): RewriteOptions {
  return {
    ...(k !== undefined && { attention: { k } }),
    ...(chunkBytes !== undefined && { chunkBytes }),
    ...(fixed !== undefined && { fixed }),
    ...(at !== undefined && { at }),
    ...(strict !== undefined && { strict }),
    ...(feedForward !== undefined && { feedForward: 'chunked' }),
  };
}
