import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';

const software = softwareGpuAvailability();

/** Runs a script on the built packages; a process that does not end by itself is killed, and fails. */
function run(script: string, environment: Record<string, string> = {}): { stdout: string; stderr: string } {
  const path = fileURLToPath(new URL(`./children/${script}`, import.meta.url));
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [path], {
    encoding: 'utf8',
    timeout: 300_000,
    env: { ...process.env, ...environment },
  });
  expect({ status, signal, stderr: status === 0 ? '' : stderr }).toEqual({
    status: 0,
    signal: null,
    stderr: '',
  });
  return { stdout, stderr };
}

optional('a process ends by itself, whether or not a backend is disposed of', software, () => {
  expect(run('exit.mjs').stdout).toBe('computed 256\n');
});

optional('no driver: NO_DEVICE that says what to do, and a doctor that says it too', software, () => {
  const { stdout } = run('no-adapter.mjs', { VK_ICD_FILENAMES: '/nowhere/icd.json' });
  const { code, fix, ok, problems, provider } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '');
  expect({ code, ok, provider }).toEqual({ code: 'NO_DEVICE', ok: false, provider: undefined });
  expect(fix).toContain('driver');
  expect(problems).toEqual([expect.stringContaining('no adapter')]);
});
