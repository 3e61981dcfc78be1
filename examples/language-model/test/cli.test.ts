import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Io, runCommandLine } from '@topk-attention/app-kit/node';
import { afterAll, expect, test } from 'vitest';
import { createProgram } from '../src/program.js';

const folder = mkdtempSync(join(tmpdir(), 'language-model-cli-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function call(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const written = { stdout: '', stderr: '' };
  const collect = (name: keyof typeof written): Io['stdout'] => ({
    write(text: string) {
      written[name] += text;
      return true;
    },
  });
  const io: Io = {
    stdin: process.stdin,
    stdout: collect('stdout'),
    stderr: collect('stderr'),
    signal: new AbortController().signal,
  };
  return { code: await runCommandLine(createProgram(io), args, io), ...written };
}

const quick = [
  '--backend',
  'reference',
  '--context',
  '32',
  '--layers',
  '1',
  '--width',
  '16',
  '--sample',
  '5',
];

test('trains without data, writes text with the result, and draws it', async () => {
  const out = join(folder, 'run');
  const trained = await call('train', ...quick, '--steps', '4', '--eval-steps', '2', '--out', out, '--json');
  expect(trained.stderr).toBe('');
  expect(trained.code).toBe(0);
  const { config, result } = JSON.parse(trained.stdout);
  expect(config).toMatchObject({
    name: 'embedded text',
    tokens: 'characters',
    model: { mechanism: 'top-k', k: 64 },
  });
  expect(result.unit).toBe('bits per character');
  expect(result.value).toBeCloseTo(result.loss / Math.LN2, 9);
  expect([...result.sample]).toHaveLength(6);
  expect(JSON.parse(readFileSync(join(out, 'result.json'), 'utf8'))).toEqual(result);

  const sampled = await call(
    'sample',
    '--run',
    out,
    '--backend',
    'reference',
    '--prompt',
    'The lamp',
    '--length',
    '4',
  );
  expect(sampled.stdout).toMatch(/^The lamp.{4}\n$/s);

  const svg = join(folder, 'curves.svg');
  expect((await call('curves', out, '--out', svg)).code).toBe(0);
  expect(readFileSync(svg, 'utf8')).toContain('top-k 64 (1 seed)');
});

test('a run goes on with --resume, and only so', async () => {
  const out = join(folder, 'resumed');
  const args = ['train', ...quick, '--mechanism', 'exact', '--eval-steps', '10', '--out', out];
  expect((await call(...args, '--steps', '2')).code).toBe(0);
  const refused = await call(...args, '--steps', '3');
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('earlier run');
  const other = await call(...args, '--steps', '3', '--resume', '--seed', '2');
  expect([other.code, other.stderr]).toEqual([1, expect.stringContaining('earlier run')]);
  expect((await call(...args, '--steps', '3', '--resume')).code).toBe(0);
});

test('words of a file, tested on another', async () => {
  const [data, other] = [join(folder, 'train.txt'), join(folder, 'test.txt')];
  writeFileSync(data, 'the keeper saw the sea \n the boy saw the lamp \n '.repeat(20));
  writeFileSync(other, 'the boy saw the sea \n '.repeat(10));
  const sizes = ['--heads', '2', '--batch', '2', '--steps', '3', '--warmup', '1', '--tokens', 'words'];
  const { code, stdout } = await call('train', ...quick, ...sizes, '--data', data, '--test', other, '--json');
  expect(code).toBe(0);
  const { config, result } = JSON.parse(stdout);
  expect(config).toMatchObject({ name: 'train.txt', model: { vocabulary: 8 }, training: { steps: 3 } });
  expect(result).toMatchObject({ unit: 'perplexity', trainTokens: 240, testTokens: 60 });
});

test('wrong use is said in words', async () => {
  const without = await call('train', '--test', 'x');
  expect([without.code, without.stderr]).toEqual([2, expect.stringContaining('--test needs --data')]);
  const missing = await call('train', '--data', join(folder, 'nowhere.txt'));
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('nowhere.txt cannot be read')]);
  const short = await call('train', ...quick, '--context', '5000');
  expect(short.code).toBe(2);
  const long = await call('train', '--backend', 'reference', '--context', '5000');
  expect([long.code, long.stderr]).toEqual([1, expect.stringContaining('the text is too short')]);
  const deep = await call('train', '--layers', '100000');
  expect([deep.code, deep.stderr]).toEqual([2, expect.stringContaining('at most 1024 layers')]);
  const wide = await call('train', '--backend', 'reference', '--width', '4000000');
  expect([wide.code, wide.stderr]).toEqual([1, expect.stringContaining('the model is too large')]);
  const norun = await call('sample', '--run', folder);
  expect([norun.code, norun.stderr]).toEqual([1, expect.stringContaining('is no folder of a run')]);
});
