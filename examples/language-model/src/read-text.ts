import { readFileSync } from 'node:fs';
import { TopKError } from '@topk-attention/core';

/** @throws TopKError FILE_NOT_FOUND */
export function readTextFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new TopKError('FILE_NOT_FOUND', `${path} cannot be read`, {
      expected: 'a text file',
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Look at the path',
      cause,
    });
  }
}

/** The part of a text to train on, and the part to test on: nine tenths and the last one. */
export function splitText(text: string): { readonly train: string; readonly test: string } {
  const cut = Math.floor(text.length * 0.9);
  return { train: text.slice(0, cut), test: text.slice(cut) };
}
