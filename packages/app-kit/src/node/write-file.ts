import { mkdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { TopKError } from '@topk-attention/core';

const FIX = 'Choose a file in a folder that you may write to, on a disk with room';

/** Writes a file completely or not at all, and creates its folder. @throws TopKError FILE_NOT_FOUND. */
export function writeFileAtomically(path: string, content: string): void {
  const partial = `${path}.${process.pid}.partial`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(partial, content, { flush: true });
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw cannotWrite(path, error);
  }
}

/**
 * Call before work whose result goes to `path`: fails at once if that is a folder. @throws TopKError FILE_NOT_FOUND.
 */
export function requireWritable(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true) return;
  throw new TopKError('FILE_NOT_FOUND', `${path} cannot be written`, { got: 'a folder', fix: FIX });
}

/** The error for a file that cannot be written: no folder, no permission, no space. */
export function cannotWrite(path: string, error: unknown): TopKError {
  return new TopKError('FILE_NOT_FOUND', `${path} cannot be written`, {
    got: error instanceof Error ? error.message : String(error),
    fix: FIX,
    cause: error,
  });
}
