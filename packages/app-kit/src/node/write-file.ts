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
    remove(partial);
    throw cannotWrite(path, error);
  }
}

function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // Below a file there is nothing to remove.
  }
}

/**
 * Call before work whose result goes to `path`: fails at once if that is a folder, or lies below a file.
 *
 * @throws TopKError FILE_NOT_FOUND.
 */
export function requireWritable(path: string): void {
  if (!isFolder(path)) return;
  throw new TopKError('FILE_NOT_FOUND', `${path} cannot be written`, { got: 'a folder', fix: FIX });
}

function isFolder(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** The error for a file that cannot be written: no folder, no permission, no space. */
export function cannotWrite(path: string, error: unknown): TopKError {
  return new TopKError('FILE_NOT_FOUND', `${path} cannot be written`, {
    got: error instanceof Error ? error.message : String(error),
    fix: FIX,
    cause: error,
  });
}
