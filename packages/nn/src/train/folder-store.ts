import { TopKError } from '@topk-attention/core';
import type { CheckpointStore } from './checkpoint.js';

const NAME = /^checkpoint-(\d+)$/;
const TEMPORARY = /^checkpoint-\d+\.[a-z0-9]+\.tmp$/;

/** Imported only when a folder is used, by names that browser bundlers ignore. */
async function nodeModules(): Promise<{
  readonly fs: typeof import('node:fs/promises');
  readonly path: typeof import('node:path');
}> {
  const [files, paths] = ['node:fs/promises', 'node:path'];
  try {
    return {
      fs: await import(/* @vite-ignore */ /* webpackIgnore: true */ files as string),
      path: await import(/* @vite-ignore */ /* webpackIgnore: true */ paths as string),
    };
  } catch (cause) {
    throw new TopKError('UNSUPPORTED', 'folders cannot be opened by path in this JavaScript runtime', {
      expected: 'node:fs/promises',
      fix: 'Pass your own CheckpointStore',
      cause,
    });
  }
}

/**
 * Checkpoints as folders `checkpoint-<step>` in a folder (Node, Deno, Bun). A checkpoint is written under another name,
 * synced to disk and renamed, and renamed again before removal, so that a dying process leaves no partial checkpoint.
 */
export function folderStore(folder: string): CheckpointStore {
  const names = async (): Promise<readonly string[]> => {
    const { fs } = await nodeModules();
    try {
      return await fs.readdir(folder);
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ENOENT') return [];
      throw new TopKError('FILE_NOT_FOUND', `cannot list the checkpoints in ${folder}`, {
        expected: 'a folder, or a place where one can be made',
        got: error instanceof Error ? error.message : String(error),
        cause: error,
      });
    }
  };
  return {
    async list() {
      const steps = (await names()).flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number);
      return steps.sort((a, b) => a - b);
    },
    async write(step, files) {
      const { fs, path } = await nodeModules();
      await fs.mkdir(folder, { recursive: true });
      // Remove what a process that died while writing left behind.
      for (const name of await names()) {
        if (TEMPORARY.test(name)) await fs.rm(path.join(folder, name), { recursive: true, force: true });
      }
      const whole = path.join(folder, `checkpoint-${step}`);
      const temporary = temporaryOf(whole);
      try {
        await fs.mkdir(temporary);
        for (const [name, bytes] of Object.entries(files)) {
          const handle = await fs.open(path.join(temporary, name), 'wx');
          try {
            await handle.writeFile(bytes);
            await handle.sync();
          } finally {
            await handle.close();
          }
        }
        await syncFolder(fs, temporary);
        // A folder cannot be renamed onto a non-empty one. A resumed run writes the same bytes again.
        await removeWhole(fs, whole);
        await fs.rename(temporary, whole);
        await syncFolder(fs, folder);
      } catch (error) {
        await fs.rm(temporary, { recursive: true, force: true });
        throw error;
      }
    },
    async read(step, name) {
      const { fs, path } = await nodeModules();
      const file = path.join(folder, `checkpoint-${step}`, name);
      try {
        return await fs.readFile(file);
      } catch (cause) {
        throw new TopKError('FILE_NOT_FOUND', `cannot read ${file}`, {
          expected: 'a file of a checkpoint',
          got: cause instanceof Error ? cause.message : String(cause),
          cause,
        });
      }
    },
    async remove(step) {
      const { fs, path } = await nodeModules();
      await removeWhole(fs, path.join(folder, `checkpoint-${step}`));
    },
  };
}

type FileSystem = typeof import('node:fs/promises');

/** A name that `TEMPORARY` matches. */
const temporaryOf = (whole: string): string => `${whole}.${Math.random().toString(36).slice(2)}.tmp`;

/** Removes a checkpoint, if it exists, after renaming it: a dying process leaves no partial one listed. */
async function removeWhole(fs: FileSystem, whole: string): Promise<void> {
  const temporary = temporaryOf(whole);
  try {
    await fs.rename(whole, temporary);
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ENOENT') return;
    throw error;
  }
  await fs.rm(temporary, { recursive: true, force: true });
}

/** Makes a folder's contents and renames survive a power loss, on systems that can open folders. */
async function syncFolder(fs: FileSystem, folder: string): Promise<void> {
  try {
    const handle = await fs.open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // Windows cannot open folders and needs no sync.
  }
}
