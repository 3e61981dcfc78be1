import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { TopKError } from '@topk-attention/core';

/** Writes a file of bytes completely or not at all, and creates its folder. @throws TopKError FILE_NOT_WRITTEN */
export function writeBytes(path: string, parts: readonly Uint8Array[]): void {
  const partial = `${path}.${process.pid}.partial`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(partial, 'w');
    try {
      for (const part of parts)
        for (let done = 0; done < part.length; ) done += writeSync(file, part, done, part.length - done);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(partial, path);
  } catch (cause) {
    rmSync(partial, { force: true });
    throw new TopKError('FILE_NOT_WRITTEN', `${path} cannot be written`, {
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Choose a folder that you may write to, on a disk with room',
      cause,
    });
  }
}
