import { TopKError } from '@topk-attention/core';
import type { CheckpointStore } from './checkpoint.js';

const NAME = /^checkpoint-(\d+)$/;
const TEMPORARY = /^checkpoint-\d+\.[a-z0-9]+\.tmp$/;

/** Imported only when a folder is used, by names that bundlers for the browser leave alone. */
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
      fix: 'Hand in a CheckpointStore of your own',
      cause,
    });
  }
}

/**
 * Checkpoints as folders `checkpoint-<step>` of a folder (Node, Deno, Bun). A checkpoint is written under another name,
 * synced to the disk and renamed, and renamed again before it is removed, so that a process that dies leaves no half one.
 */
export function folderStore(folder: string): CheckpointStore {
  const names = async (): Promise<readonly string[]> => {
    const { fs } = await nodeModules();
    try {
      return await fs.readdir(folder);
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ENOENT') return [];
      throw error;
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
      // What a process left behind that died while it wrote.
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
        // A folder is not renamed onto one that holds something. A run that was resumed writes the same bytes again.
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

/** A name that `TEMPORARY` knows. */
const temporaryOf = (whole: string): string => `${whole}.${Math.random().toString(36).slice(2)}.tmp`;

/** Removes a checkpoint, if it is there, by another name: a process that dies leaves no half of it that is listed. */
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

/** Makes what is in a folder, and renames there, outlast a loss of power, on systems that open folders. */
async function syncFolder(fs: FileSystem, folder: string): Promise<void> {
  try {
    const handle = await fs.open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // Windows does not open folders and needs no sync.
  }
}
