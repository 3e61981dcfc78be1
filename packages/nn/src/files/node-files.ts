import { TopKError } from '@topk-attention/core';
import type { ByteSource } from './byte-source.js';

/** Imported only when a path is opened, through a variable so that bundlers for the browser ignore it. */
async function nodeFiles(): Promise<typeof import('node:fs/promises')> {
  const nodeModule = 'node:fs/promises';
  try {
    return await import(/* @vite-ignore */ /* webpackIgnore: true */ nodeModule);
  } catch (cause) {
    throw new TopKError('UNSUPPORTED', 'files cannot be opened by path in this JavaScript runtime', {
      expected: 'node:fs/promises',
      fix: 'Pass the bytes, a ByteSource or a URL',
      cause,
    });
  }
}

/**
 * Opens a file of the file system for reading (Node, Deno, Bun).
 *
 * @throws TopKError FILE_NOT_FOUND, UNSUPPORTED in a browser.
 */
export async function openFile(path: string): Promise<ByteSource> {
  const { open } = await nodeFiles();
  let handle: Awaited<ReturnType<typeof open>>;
  let size: number;
  try {
    handle = await open(path, 'r');
  } catch (cause) {
    throw unreadable(path, cause);
  }
  try {
    const stats = await handle.stat();
    if (!stats.isFile()) throw new Error('not a file');
    size = stats.size;
  } catch (cause) {
    await handle.close();
    throw unreadable(path, cause);
  }
  let isOpen = true;
  return {
    name: path,
    size,
    async read(offset, length) {
      const bytes = new Uint8Array(Math.max(0, Math.min(length, size - offset)));
      let done = 0;
      while (done < bytes.length) {
        const { bytesRead } = await handle.read(bytes, done, bytes.length - done, offset + done);
        if (bytesRead === 0) break;
        done += bytesRead;
      }
      return done === bytes.length ? bytes : bytes.slice(0, done);
    },
    async close() {
      if (!isOpen) return;
      isOpen = false;
      await handle.close();
    },
  };
}

/** Writes a temporary file in the same folder and renames it: readers see either the old file or the whole new one. */
export async function writeFileAtomically(path: string, parts: readonly Uint8Array[]): Promise<void> {
  const { open, rename, rm } = await nodeFiles();
  const temporary = `${path}.${Math.random().toString(36).slice(2)}.tmp`;
  try {
    const handle = await open(temporary, 'wx');
    try {
      for (const part of parts) await handle.writeFile(part);
      // Without this, a crash may leave an empty file under the new name.
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function unreadable(path: string, cause: unknown): TopKError {
  return new TopKError('FILE_NOT_FOUND', `cannot open ${path}`, {
    expected: 'a readable file',
    got: cause instanceof Error ? cause.message : String(cause),
    fix: 'Check the path',
    cause,
  });
}
