import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { TopKError } from '@topk-attention/core';

/** Writes a file whole or not at all, with its folder. @throws TopKError FILE_NOT_FOUND. */
export function writeFileAtomically(path: string, content: string): void {
  const partial = `${path}.${process.pid}.partial`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(partial, content, { flush: true });
    renameSync(partial, path);
  } catch (error) {
    throw new TopKError('FILE_NOT_FOUND', `${path} cannot be written`, {
      got: error instanceof Error ? error.message : String(error),
      fix: 'Choose a folder that is there and that you may write to',
      cause: error,
    });
  }
}
