import { TopKError } from '@topk-attention/core';
import { requireSame } from './configuration.js';
import { lockFolder } from './lock.js';

/**
 * Begins a run in its folder, goes on with it, or returns what it ended with. No other process uses the folder meanwhile.
 *
 * @throws TopKError INVALID_OPTION for a folder with another run, or with a run and without `resume`; LOCKED;
 * UNSUPPORTED for a run of another version; FILE_NOT_WRITTEN; whatever `work` throws
 */
export async function workInFolder<Configuration extends object, Result>(
  {
    folder,
    configuration,
    resume,
  }: { readonly folder: string; readonly configuration: Configuration; readonly resume: boolean },
  files: {
    readonly readConfiguration: (folder: string) => Configuration | undefined;
    readonly writeConfiguration: (folder: string, configuration: Configuration) => void;
    readonly readResult: (folder: string) => Result | undefined;
  },
  work: () => Promise<Result>,
): Promise<Result> {
  const lock = lockFolder(folder);
  try {
    const stored = files.readConfiguration(folder);
    if (stored !== undefined) requireSame(stored, configuration, folder);
    if (stored !== undefined && !resume) {
      throw new TopKError('INVALID_OPTION', `${folder} holds this run already`, {
        expected: 'a new folder',
        got: 'a run that was begun',
        fix: 'Add --resume to go on with it, or choose another --out',
      });
    }
    const done = files.readResult(folder);
    if (done !== undefined) return done;
    if (stored === undefined) files.writeConfiguration(folder, configuration);
    return await work();
  } finally {
    lock.release();
  }
}
