import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { fullPass, streamed } from '../../src/evaluation/looks.js';
import { errorOf, lra, temporaryFolder } from '../support/command-line.js';
import { fewRows, tiny } from '../support/small-run.js';

const folder = temporaryFolder();
let data = '';
const runs: { [mechanism: string]: { folder: string; test: number; testLoss: number } } = {};

const evaluate = (run: string, ...more: readonly string[]): string[] => [
  ...['eval', '--run', run, '--data', data, '--backend', 'reference', ...more],
];

beforeAll(async () => {
  data = await fewRows(folder, 20);
  const args = ['train', '--task', 'listops', '--data', data, '--out', join(folder, 'runs'), ...tiny];
  const short = args.map((arg, at) => (args[at - 1] === '--steps' ? '4' : arg));
  const sweep = ['--mechanism', 'exact,top-k,performer', '--k', '6', '--features', '8', '--json'];
  const { stdout } = await lra([...short, ...sweep]);
  for (const run of JSON.parse(stdout).runs) runs[run.mechanism.name] = run;
});

interface Shown {
  readonly evaluations: readonly { k: number | 'exact'; accuracy: number; loss: number; examples: number }[];
}

test('either way, without retraining: what training tested comes out again', async () => {
  const { exact, 'top-k': topK } = runs as { [name: string]: (typeof runs)[string] };
  const both = [exact?.folder, topK?.folder].join();
  const { code, stdout } = await lra(evaluate(both, '--k', '2,6,24,exact', '--json'));
  expect(code).toBe(0);
  const [one, other] = JSON.parse(stdout).runs as [Shown, Shown];
  expect(one.evaluations.map(({ k }) => k)).toEqual([2, 6, 24, 'exact']);
  expect(one.evaluations[3]).toEqual({
    k: 'exact',
    accuracy: exact?.test,
    loss: exact?.testLoss,
    examples: 10,
  });
  expect(other.evaluations[1]).toEqual({ k: 6, accuracy: topK?.test, loss: topK?.testLoss, examples: 10 });
  // k of all tokens is exact attention; a k of 2 is something else.
  for (const { evaluations } of [one, other]) {
    expect(evaluations[2]?.loss).toBe(evaluations[3]?.loss);
    expect(evaluations[0]?.loss).not.toBe(evaluations[3]?.loss);
  }
  const stored = JSON.parse(readFileSync(join(exact?.folder ?? '', 'evaluations.json'), 'utf8'));
  expect(stored.evaluations).toEqual(one.evaluations);
});

test('stopped, it keeps what it has found', async () => {
  const run = runs['top-k']?.folder ?? '';
  const path = join(run, 'evaluations.json');
  rmSync(path, { force: true });
  const controller = new AbortController();
  const kept = Array.from({ length: 23 }, (_, at) => at + 1).join();
  const running = lra(evaluate(run, '--k', kept), controller.signal);
  while (!existsSync(path)) await new Promise((done) => setTimeout(done, 1));
  controller.abort();
  const { code, stderr } = await running;
  expect(code).toBe(130);
  expect(stderr).toContain('saved in the run folders');
  const { evaluations } = JSON.parse(readFileSync(path, 'utf8'));
  expect(evaluations[0].k).toBe(1);
  expect(evaluations.length).toBeLessThan(23);
});

test('other rows of the task: printed, not kept', async () => {
  const run = runs.exact?.folder ?? '';
  const other = await fewRows(join(folder, 'more'), 23);
  const onOther = evaluate(run, '--k', '5,exact', '--other-rows', '--json').map((arg) =>
    arg === data ? other : arg,
  );
  const before = readFileSync(join(run, 'evaluations.json'), 'utf8');
  const { code, stdout } = await lra(onOther);
  expect(code).toBe(0);
  const { evaluations } = JSON.parse(stdout).runs[0] as Shown;
  expect(evaluations.map(({ k }) => k)).toEqual([5, 'exact']);
  // Rows of a split depend on seed and number alone: the test rows are the same, those to train on are more.
  expect(evaluations[1]?.loss).toBe(runs.exact?.testLoss);
  expect(readFileSync(join(run, 'evaluations.json'), 'utf8')).toBe(before);
});

test('refused: a model of another kernel, other rows, no run, an unfinished one', async () => {
  const exact = runs.exact?.folder ?? '';
  expect((await errorOf(evaluate(runs.performer?.folder ?? '', '--k', '4'))).code).toBe('UNSUPPORTED');
  expect((await errorOf(evaluate(join(folder, 'nothing'), '--k', '4'))).code).toBe('FILE_NOT_FOUND');
  const other = await fewRows(join(folder, 'other'), 21);
  const mixed = evaluate(exact, '--k', '4').map((arg) => (arg === data ? other : arg));
  expect(await errorOf(mixed)).toMatchObject({
    code: 'INVALID_OPTION',
    message: expect.stringContaining('other rows'),
  });
  const best = join(exact, 'best.safetensors');
  writeFileSync(best, readFileSync(best).subarray(0, 500));
  expect((await errorOf(evaluate(exact, '--k', '4'))).code).toBe('FILE_TRUNCATED');
});

test('one pass, with or without the last batch', () => {
  expect(fullPass(5, 2, 'kept')).toEqual([[0, 1], [2, 3], [4]]);
  expect(fullPass(5, 2, 'dropped')).toEqual([
    [0, 1],
    [2, 3],
  ]);
  expect(fullPass(3, 8, 'dropped')).toEqual([[0, 1, 2]]);
});

test('a stream goes on where the last look ended, and over all rows before any comes again', () => {
  const looks = [1, 2, 3].map((look) => streamed(10, 2, 2, look, 7));
  expect(new Set([...looks[0]!, ...looks[1]!].flat()).size).toBe(8);
  expect(new Set([...looks[0]!, ...looks[1]!, looks[2]![0]!].flat()).size).toBe(10);
  expect(streamed(10, 2, 2, 2, 7)).toEqual(looks[1]);
});
