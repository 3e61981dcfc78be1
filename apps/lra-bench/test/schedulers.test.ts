import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { lra, temporaryFolder } from './support/command-line.js';
import { fewRows } from './support/small-run.js';

const folder = temporaryFolder();
const file = (name: string): string => fileURLToPath(new URL(`../schedulers/${name}`, import.meta.url));
const root = fileURLToPath(new URL('../../..', import.meta.url));

test('a job of the Slurm array makes its runs, and none again', async () => {
  if (process.platform === 'win32') return;
  const data = await fewRows(folder, 8);
  const out = join(folder, 'runs');
  const small = [
    '--preset',
    'small-clean',
    '--tokens',
    '8',
    '--batch',
    '2',
    '--steps',
    '2',
    '--eval-every',
    '2',
    '--json',
  ];
  const env = { LRA_DATA: data, LRA_RUNS: out, LRA_BACKEND: 'reference', SLURM_ARRAY_TASK_COUNT: '12' };
  const job = (id: string): string => {
    const given = { ...process.env, ...env, SLURM_ARRAY_TASK_ID: id };
    const { stdout, status } = spawnSync('bash', [file('slurm.sh'), ...small], { cwd: root, env: given });
    expect(status).toBe(0);
    return JSON.parse(stdout.toString()).runs.map((run: { folder: string }) => run.folder);
  };
  expect(job('5')).toEqual([join(out, 'listops-small-clean-top-k-128-seed-2')]);
  expect(job('5')).toEqual([join(out, 'listops-small-clean-top-k-128-seed-2')]);
});

test('every command line of the workflow is understood', async () => {
  const text = readFileSync(file('github-actions.yml'), 'utf8')
    .replace(/>-\n\s+/g, '')
    .replace(/\n {10}(?=\S)/g, ' ');
  const lines = [...text.matchAll(/run: npx -y pnpm@12 lra (.+)/g)].map(([, line = '']) =>
    line.replace(/\$\{\{ matrix\.shard \}\}/, '1').split(' '),
  );
  expect(lines.map(([command]) => command)).toEqual(['generate', 'train', 'report']);
  for (const [command = '', ...args] of lines.slice(1)) {
    // No such folder: the command line was read and the data were looked for.
    const named = args.map((arg, at) =>
      ['--data', '--runs'].includes(args[at - 1] ?? '') ? join(folder, 'no') : arg,
    );
    const { code, stdout } = await lra([command, ...named, '--json']);
    expect({ code, error: JSON.parse(stdout).error.code }).toEqual({ code: 1, error: 'FILE_NOT_FOUND' });
  }
});
