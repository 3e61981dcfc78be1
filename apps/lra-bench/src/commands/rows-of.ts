import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Io, ProgressBar } from '@topk-attention/app-kit/node';
import type { Splits } from '../data/splits.js';
import { readTask } from '../sources/read.js';
import type { TaskName } from '../tasks/task.js';

/** Rows from `--data`, or from the folder of the task's name in it. */
export async function rowsOf(
  task: TaskName,
  { data }: { readonly data: string },
  validation: 'test' | 'held-out',
  bar: ProgressBar,
  io: Io,
): Promise<Splits> {
  const own = join(data, task);
  try {
    return await readTask(task, existsSync(own) ? own : data, {
      validation,
      signal: io.signal,
      onProgress: (done, total, label) => bar.update(done, total ?? done, `reading ${label}`),
    });
  } finally {
    bar.clear();
  }
}
