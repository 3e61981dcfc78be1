import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Availability } from '@topk-attention/vitest-preset';

export const moverScript: string = fileURLToPath(
  new URL('../../python/torch_checkpoint.py', import.meta.url),
);
const jobsScript = fileURLToPath(new URL('torch_jobs.py', import.meta.url));

/** The Python of the tests: TOPK_PYTHON, or python3. */
const python = process.env.TOPK_PYTHON || 'python3';

/** Python alone; `TOPK_REQUIRE_PYTHON=1` turns skips into failures. */
export function pythonAvailability(): Availability {
  const { status } = spawnSync(python, ['--version']);
  const reason = `${python} does not run: install Python 3.9 or later, or set TOPK_PYTHON`;
  return { need: 'python', available: status === 0, reason };
}

/** Python with torch; `TOPK_REQUIRE_TORCH=1` turns skips into failures. */
export function torchAvailability(): Availability {
  const find = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)";
  const { status } = spawnSync(python, ['-c', find]);
  const reason = `${python} has no torch: \`pip install torch\`, or set TOPK_PYTHON to a Python that has it`;
  return { need: 'torch', available: status === 0, reason };
}

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The script as a user runs it. */
export function runMover(...args: readonly string[]): Ended {
  const { status, stdout, stderr } = spawnSync(python, [moverScript, ...args], { encoding: 'utf8' });
  return { code: status, stdout, stderr };
}

export interface CommandResult {
  readonly code: number;
  readonly stderr: string;
}

/** Jobs of torch_jobs.py, in one process. */
export function runJobs(jobs: readonly { readonly [kind: string]: unknown }[]): readonly unknown[] {
  const { status, stdout, stderr } = spawnSync(python, [jobsScript], {
    input: JSON.stringify(jobs),
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (status !== 0) throw new Error(`torch_jobs.py ended with ${status}: ${stderr}`);
  return JSON.parse(stdout);
}
