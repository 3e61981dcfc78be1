import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const child = fileURLToPath(new URL('./memory-child.js', import.meta.url));

export interface MemoryTask {
  readonly method: string;
  readonly length: number;
  readonly k: number;
  readonly chunk: number;
  readonly threads: number;
  /** How many chunks to run; the memory of one is that of all. */
  readonly chunks: number;
}

export interface Peak {
  /** Resident bytes of the process with the inputs made and nothing run. */
  readonly baseline: number;
  /** Largest resident bytes. */
  readonly peak: number;
  readonly milliseconds: number;
}

/** Peak resident memory, from a process that does nothing else. */
export async function measurePeak(kind: 'chunks' | 'whole', task: MemoryTask): Promise<Peak> {
  const { stdout } = await promisify(execFile)(process.execPath, [child, kind, JSON.stringify(task)], {
    maxBuffer: 2 ** 20,
  });
  return JSON.parse(stdout) as Peak;
}
