import type { Rows } from '../data/rows.js';
import type { SplitName, Splits } from '../data/splits.js';
import type { GeneratedTask, GenerateOptions } from './generate.js';
import { generateInThreads } from './generate-in-threads.js';

/**
 * All rows of a task, with a note that they are not the official ones. Long splits are made in `threads` threads (default:
 * one per core); the rows are the same.
 *
 * @throws the signal's reason
 */
export async function generateSplits(
  task: GeneratedTask,
  {
    counts,
    onProgress,
    threads,
    ...options
  }: Omit<GenerateOptions, 'count' | 'from' | 'onProgress'> & {
    readonly threads?: number;
    readonly counts: { readonly [split in SplitName]: number };
    readonly onProgress?: (done: number, total: number, split: SplitName) => void;
  },
): Promise<Splits> {
  const rowsOf = (split: SplitName): Promise<Rows> =>
    generateInThreads(task, split, {
      ...options,
      ...(threads !== undefined && { threads }),
      count: counts[split],
      onProgress: (done, total) => onProgress?.(done, total, split),
    });
  return {
    train: await rowsOf('train'),
    validation: await rowsOf('validation'),
    test: await rowsOf('test'),
    notes: [`generated with seed ${options.seed}: not the official rows`],
  };
}
