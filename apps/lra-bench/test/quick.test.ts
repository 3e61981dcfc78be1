import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporaryFolder } from './support/command-line.js';

const cli = fileURLToPath(new URL('../dist/cli.js', import.meta.url));

test('quick: generated data, three runs, a report; each learns more than the majority class', async () => {
  const out = join(temporaryFolder(), 'quick');
  // Runs of others in the same folder stay, and are not reported.
  const other = join(out, 'runs/other');
  mkdirSync(other, { recursive: true });
  writeFileSync(join(other, 'config.json'), 'kept');
  // A native engine, so not in the process that the tests of this package share. It rejects if the program fails.
  const args = ['quick', '--steps', '40', '--backend', 'onnxruntime', '--out', out, '--json'];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [cli, ...args]);
  expect(stderr).toBe('');
  const [{ groups, majority }] = JSON.parse(stdout).sections;
  expect(groups.map(({ title }: { title: string }) => title)).toEqual([
    'exact',
    'top-k 8',
    'performer, 32 features',
  ]);
  for (const { mean } of groups) expect(mean).toBeGreaterThan(majority + 4);
  expect(readFileSync(join(other, 'config.json'), 'utf8')).toBe('kept');
  expect(readFileSync(join(out, 'lra.html'), 'utf8')).toContain('not the task of the benchmark');
});
