import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { EngineName } from './engines.js';
import type { Pass } from './options.js';
import type { Setup, Tile } from './setup.js';

const child = fileURLToPath(new URL('./memory-child.js', import.meta.url));

export interface MemoryTask {
  readonly engine: EngineName;
  readonly threads: number;
  readonly pass: Pass;
  readonly method: string;
  readonly setup: Setup;
  readonly tile: Tile;
}

export interface Peak {
  /** Resident bytes beyond those of the process with its inputs made. */
  readonly peak: number;
  /** Bytes of tf's tensors beyond the inputs, as `tf.memory()` counts them. */
  readonly tensors: number;
  readonly milliseconds: number;
}

/** What was seen of a run that did not end: stopped at the bound, or refused by the engine. */
export interface NoPeak {
  readonly stoppedAt: number;
  readonly reason: string;
}

/** Peak resident memory, from a process that does nothing else; it is stopped above `boundBytes`. */
export function measurePeak(task: MemoryTask, boundBytes: number): Promise<Peak | NoPeak> {
  return new Promise((resolve) => {
    const running = spawn(process.execPath, ['--expose-gc', child, JSON.stringify(task)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    let errors = '';
    let largest = 0;
    let isStopped = false;
    running.stdout.on('data', (part) => {
      output += part;
    });
    running.stderr.on('data', (part) => {
      errors = (errors + part).slice(-4000);
    });
    const watch = setInterval(() => {
      largest = Math.max(largest, residentBytes(running.pid));
      if (largest <= boundBytes) return;
      isStopped = true;
      running.kill('SIGKILL');
    }, 20);
    running.on('close', (status) => {
      clearInterval(watch);
      if (status === 0) resolve(JSON.parse(output.slice(output.lastIndexOf('\n{') + 1)) as Peak);
      else {
        const said =
          errors.split('\n').find((line) => /^\w*Error:|OOM|exhausted/.test(line)) ?? `exit ${status}`;
        resolve({ stoppedAt: largest, reason: isStopped ? 'stopped at the bound' : said.trim() });
      }
    });
  });
}

function residentBytes(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    return 0; // ended, or no /proc
  }
}
