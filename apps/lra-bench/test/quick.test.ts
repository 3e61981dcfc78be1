import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lra, temporaryFolder } from './support/command-line.js';

test('quick: generated data, three runs, a report; each learns more than the majority class', async () => {
  const out = join(temporaryFolder(), 'quick');
  // Runs of others in the same folder stay, and are not reported.
  const other = join(out, 'runs/other');
  mkdirSync(other, { recursive: true });
  writeFileSync(join(other, 'config.json'), 'kept');
  const { code, stdout, stderr } = await lra([
    'quick',
    '--steps',
    '40',
    '--backend',
    'onnxruntime',
    '--out',
    out,
    '--json',
  ]);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  const [{ groups, majority }] = JSON.parse(stdout).sections;
  expect(groups.map(({ title }: { title: string }) => title)).toEqual(['exact', 'top-k 8', 'performer']);
  for (const { mean } of groups) expect(mean).toBeGreaterThan(majority + 4);
  expect(readFileSync(join(other, 'config.json'), 'utf8')).toBe('kept');
  expect(readFileSync(join(out, 'lra.html'), 'utf8')).toContain('not the task of the benchmark');
});
