import { TopKError } from '@topk-attention/core';
import type { CheckpointStore, LogEntry } from '@topk-attention/nn';
import type { Settings } from './settings.js';

/** What the page shows of a run. Saved with each checkpoint, so that a reload shows and continues the same run. */
export interface Progress {
  readonly state: 'running' | 'paused' | 'finished';
  readonly log: readonly LogEntry[];
  readonly sample?: { readonly step: number; readonly text: string };
}

export interface StoredRun {
  readonly settings: Settings;
  readonly text: string;
  readonly progress: Progress;
  /** Steps with a checkpoint, ascending. */
  readonly steps: readonly number[];
}

/** One run and its checkpoints in IndexedDB, which works in pages and in workers of every browser. */
export interface RunStore extends CheckpointStore {
  /** The run kept here, if any. */
  load(): Promise<StoredRun | undefined>;
  /** Replaces the run kept here, with its checkpoints, by a new one. */
  begin(settings: Settings, text: string): Promise<void>;
  /** Saves that a run is paused or finished, without a checkpoint. */
  keep(progress: Progress): Promise<void>;
  clear(): Promise<void>;
  close(): void;
}

const FILES = 'files';
const RUN = 'run';
const NOTHING: Progress = { state: 'running', log: [] };

/**
 * Opens the store of a name. A checkpoint and the progress at that step are written in one transaction: they exist
 * completely or not at all, whenever the tab is closed.
 *
 * @param progressNow is asked with each checkpoint
 */
export async function openRunStore(name: string, progressNow: () => Progress): Promise<RunStore> {
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => {
    opening.result.createObjectStore(FILES); // [step, name] -> bytes
    opening.result.createObjectStore(RUN); // 'settings', 'text', 'progress'
  };
  const database = await resultOf(opening);
  const change = async (work: (files: IDBObjectStore, run: IDBObjectStore) => void): Promise<void> => {
    const transaction = database.transaction([FILES, RUN], 'readwrite', { durability: 'strict' });
    const done = new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error ?? new Error('the transaction was aborted'));
    });
    work(transaction.objectStore(FILES), transaction.objectStore(RUN));
    await done;
  };
  const reading = (store: string): IDBObjectStore => database.transaction(store).objectStore(store);
  const list = async (): Promise<readonly number[]> => {
    const keys = (await resultOf(reading(FILES).getAllKeys())) as [step: number, name: string][];
    return [...new Set(keys.map(([step]) => step))].sort((a, b) => a - b);
  };

  return {
    list,
    write: (step, files) =>
      change((store, run) => {
        store.delete(filesOf(step));
        for (const [file, bytes] of Object.entries(files)) store.put(bytes, [step, file]);
        run.put(progressNow(), 'progress');
      }),
    async read(step, file) {
      const bytes = (await resultOf(reading(FILES).get([step, file]))) as Uint8Array | undefined;
      if (bytes !== undefined) return bytes;
      throw new TopKError('FILE_NOT_FOUND', `there is no ${file} of step ${step} in this browser`, {
        expected: `a checkpoint of step ${step}`,
        got: `checkpoints of steps ${(await list()).join(', ') || 'none'}`,
        fix: 'Begin a new run',
      });
    },
    remove: (step) => change((store) => store.delete(filesOf(step))),

    async load() {
      const run = reading(RUN);
      const [settings, text, progress] = await Promise.all(
        ['settings', 'text', 'progress'].map((key) => resultOf(run.get(key))),
      );
      return settings === undefined ? undefined : { settings, text, progress, steps: await list() };
    },
    begin: (settings, text) =>
      change((store, run) => {
        store.clear();
        run.put(settings, 'settings');
        run.put(text, 'text');
        run.put(NOTHING, 'progress');
      }),
    keep: (progress) => change((_, run) => run.put(progress, 'progress')),
    clear: () =>
      change((store, run) => {
        store.clear();
        run.clear();
      }),
    close: () => database.close(),
  };
}

/** The keys of a step's files: an array sorts after every string. */
const filesOf = (step: number): IDBKeyRange => IDBKeyRange.bound([step], [step, []]);

function resultOf<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('IndexedDB failed'));
  });
}
