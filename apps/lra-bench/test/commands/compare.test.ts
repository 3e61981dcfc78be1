import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { readBench } from '../../src/bench/result.js';
import { errorOf, lra, temporaryFolder } from '../support/command-line.js';

const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const folder = temporaryFolder();

test('mechanisms are trained alike, measured by length and shown on one page; resumed, nothing is done again', async () => {
  const out = join(folder, 'compare');
  const args = ['compare', '--mechanisms', 'exact,top-k,simpletron', '--task', 'listops', '--steps', '5'];
  const rest = ['--lengths', '32,16', '--rounds', '1', '--backend', 'onnxruntime', '--out', out, '--json'];
  // A native engine, so not in the process that the tests of this package share. It rejects if the program fails.
  const call = (...more: readonly string[]) =>
    promisify(execFile)(process.execPath, [cli, ...args, ...rest, ...more]);
  const { stdout, stderr } = await call();
  expect(stderr).toBe('');
  const { sections, comparison, files } = JSON.parse(stdout);
  const ways = ['exact', 'top-k 8', 'simpletron'];
  expect(sections[0].groups.map(({ title }: { title: string }) => title)).toEqual(ways);
  const rows: { way: string; x: number; milliseconds: number; peakBytes: number }[] = comparison.rows;
  expect(rows.map(({ way, x }) => `${way} ${x}`)).toEqual(
    [16, 32].flatMap((x) => ways.map((way) => `${way} ${x}`)),
  );
  for (const row of rows) expect(Math.min(row.milliseconds, row.peakBytes)).toBeGreaterThan(0);
  expect(comparison.about).toContain('not the scratch memory of sessions');
  const page = readFileSync(join(out, 'lra.html'), 'utf8');
  for (const text of ['A step of training by length', 'top-k 8: ', 'simpletron: ', 'than exact'])
    expect(page).toContain(text);
  expect(readBench(join(out, 'bench.json'))).toEqual([comparison]);
  expect(files).toContain(join(out, 'crossings.svg'));
  expect(readFileSync(join(out, 'crossings.svg'), 'utf8')).toContain('where each takes less memory');

  const again = JSON.parse((await call('--resume')).stdout);
  expect(again.comparison.rows).toEqual(rows);
  expect(again.sections).toEqual(sections);
});

test('--measure-only measures the model of the preset and trains nothing', async () => {
  const out = join(folder, 'measured');
  const args = ['compare', '--mechanisms', 'exact,simpletron', '--task', 'image', '--measure-only'];
  const rest = ['--lengths', '16', '--rounds', '1', '--backend', 'reference', '--out', out, '--json'];
  const { stdout } = await lra([...args, ...rest]);
  const { sections, comparison } = JSON.parse(stdout);
  expect(sections).toEqual([]);
  expect(comparison.about).toContain('2 layers of width 64');
  expect(comparison.rows.map(({ way, x }: { way: string; x: number }) => `${way} ${x}`)).toEqual([
    'exact 16',
    'simpletron 16',
  ]);
  expect(readFileSync(join(out, 'lra.md'), 'utf8')).toContain('A step of training by length');
  expect(existsSync(join(out, 'runs'))).toBe(false);
  expect(await errorOf([...args, '--steps', '5'])).toMatchObject({ code: 'USAGE' });
  expect(await errorOf([...args, '--k', '5'])).toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining('--k goes with --mechanisms top-k'),
  });
  const refused = ['compare', '--mechanisms', 'soft', '--task', 'image', '--measure-only', '--out', out];
  expect(await errorOf([...refused, '--backend', 'reference'])).toMatchObject({ code: 'UNSUPPORTED' });
});

test('a mechanism that refuses the task is named with its reason, and data are not read for it', async () => {
  const args = ['compare', '--mechanisms', 'soft', '--task', 'image', '--data', join(folder, 'none')];
  const error = await errorOf([...args, '--backend', 'reference', '--out', join(folder, 'refused')]);
  expect(error).toMatchObject({ code: 'UNSUPPORTED' });
  expect(error.message).toMatch(/soft: It refuses the task, or its own settings: .*black pixels are moved/);
});

test('a mechanism whose landmarks the texts are too short for is left out with its reason', async () => {
  const out = join(folder, 'short');
  const args = ['compare', '--mechanisms', 'exact,soft', '--task', 'listops', '--steps', '5'];
  const rest = [
    '--landmarks',
    '1000',
    '--lengths',
    '16',
    '--rounds',
    '1',
    '--backend',
    'reference',
    '--json',
  ];
  const { code, stdout } = await lra([...args, ...rest, '--out', out]);
  expect(code).toBe(0);
  const { sections, comparison } = JSON.parse(stdout);
  expect(sections[0].groups.map(({ title }: { title: string }) => title)).toEqual(['exact']);
  expect(comparison.refused).toEqual([
    { way: 'soft', reason: expect.stringContaining('fewer tokens than landmarks') },
  ]);
});

test('usage: tasks without rows, options without data, unknown names', async () => {
  const wrong = async (...args: readonly string[]) => {
    const { code, stderr } = await lra(['compare', ...args]);
    expect(code).toBe(2);
    return stderr;
  };
  expect(await wrong('--mechanisms', 'exact', '--task', 'text')).toContain('--task text needs --data');
  const batch = ['--mechanisms', 'all', '--task', 'listops', '--batch', '4'];
  expect(await wrong(...batch)).toContain('--batch goes with --data');
  expect(await wrong('--mechanisms', 'exact,none', '--task', 'listops')).toContain('Expected one of exact');
});

test('stopped, it ends as interrupted and says how to go on', async () => {
  const out = join(folder, 'stopped');
  const controller = new AbortController();
  const args = ['--mechanisms', 'exact', '--task', 'listops', '--backend', 'reference', '--out', out];
  const running = lra(['compare', ...args], controller.signal);
  const begun = join(out, 'runs/listops-quick-exact-seed-1/metrics.jsonl');
  while (!existsSync(begun)) await new Promise((done) => setTimeout(done, 20));
  controller.abort();
  const { code, stderr } = await running;
  expect(code).toBe(130);
  expect(stderr).toContain('the same command with --resume goes on');
});
