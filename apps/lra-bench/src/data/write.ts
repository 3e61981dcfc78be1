import {
  accessSync,
  closeSync,
  constants,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { notWritten } from './errors.js';

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
    throw notWritten(path, cause);
  }
}

/** Call before long work whose results go to a folder: creates it. @throws TopKError FILE_NOT_WRITTEN */
export function requireFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
  } catch (cause) {
    throw notWritten(folder, cause);
  }
}
