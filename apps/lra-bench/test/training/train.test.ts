import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';
import { isEvaluation, readMetrics } from '../../src/runs/metrics.js';
import { readConfiguration, readSessions } from '../../src/runs/run-folder.js';
import { errorOf, lastOfEach, lra, temporaryFolder } from '../support/command-line.js';
import { fewRows, tiny } from '../support/small-run.js';

const folder = temporaryFolder();
const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url));
const RUN = 'listops-small-clean-exact-seed-1';
let data = '';
let whole = '';

const train = (out: string, ...more: readonly string[]): string[] => [
  ...['train', '--task', 'listops', '--data', data, '--out', join(folder, out)],
  ...tiny,
  ...more,
];
/** What a run learned: its weights, and its result but for times and memory. */
function learned(run: string): object {
  const {
    steps,
    bestStep,
    validation,
    test: accuracy,
    testLoss,
  } = JSON.parse(readFileSync(join(run, 'result.json'), 'utf8'));
  const last = readdirSync(join(run, 'checkpoints')).sort();
  return {
    ...{ steps, bestStep, validation, accuracy, testLoss, last },
    best: readFileSync(join(run, 'best.safetensors')).toString('base64'),
    model: readFileSync(join(run, 'checkpoints/checkpoint-12/model.safetensors')).toString('base64'),
    optimizer: readFileSync(join(run, 'checkpoints/checkpoint-12/optimizer.safetensors')).toString('base64'),
    looks: readMetrics(run).filter(isEvaluation),
  };
}

beforeAll(async () => {
  data = await fewRows(folder);
  const { code, stdout } = await lra(train('whole', '--json'));
  expect(code).toBe(0);
  const { runs } = JSON.parse(stdout);
  expect(runs).toHaveLength(1);
  whole = runs[0].folder;
});

test('a run is a folder: configuration, environment, log, checkpoints, result', () => {
  expect(whole).toBe(join(folder, 'whole', RUN));
  expect(existsSync(join(whole, 'lock'))).toBe(false);
  const configuration = readConfiguration(whole);
  expect(configuration).toMatchObject({ task: 'listops', seed: 1, mechanism: { name: 'exact' } });
  expect(configuration?.training).toMatchObject({ steps: 12, warmup: 2, batch: 4, learningRate: 0.01 });
  expect(readSessions(whole)).toMatchObject([{ from: 0, engine: expect.stringContaining('reference') }]);
  const metrics = readMetrics(whole);
  expect(metrics.filter(isEvaluation).map(({ step }) => step)).toEqual([4, 8, 12]);
  expect(metrics.filter((metric) => metric.loss !== undefined).map(({ step }) => step)).toEqual([10, 12]);
});

test('a finished run is kept with --resume, and an error without', async () => {
  expect((await errorOf(train('whole'))).code).toBe('INVALID_OPTION');
  const again = await lra(train('whole', '--resume', '--json'));
  expect(JSON.parse(again.stdout).runs[0].bestStep).toBe(
    JSON.parse(readFileSync(join(whole, 'result.json'), 'utf8')).bestStep,
  );
  expect(readSessions(whole)).toHaveLength(1);
});

test('killed in the middle and resumed, it ends with the same bits', async () => {
  const run = join(folder, 'killed', RUN);
  const child = spawn(process.execPath, [cli, ...train('killed')], { stdio: 'ignore' });
  while (!existsSync(join(run, 'checkpoints', 'checkpoint-4')))
    await new Promise((done) => setTimeout(done, 5));
  child.kill('SIGKILL');
  await once(child, 'exit');
  expect(existsSync(join(run, 'result.json'))).toBe(false);
  expect((await lra(train('killed', '--resume'))).code).toBe(0);
  expect(learned(run)).toEqual(learned(whole));
  expect(readSessions(run).length).toBe(2);
  expect(readSessions(run)[1]?.from).toBeGreaterThanOrEqual(4);
});

test('Ctrl-C saves, says how to go on, and the rest gives the same bits', async () => {
  const controller = new AbortController();
  const run = join(folder, 'stopped', RUN);
  const running = lra(train('stopped'), controller.signal);
  while (!existsSync(join(run, 'metrics.jsonl'))) await new Promise((done) => setTimeout(done, 5));
  controller.abort();
  const { code, stderr } = await running;
  expect(code).toBe(130);
  expect(stderr).toContain('--resume');
  expect(readSessions(run)[0]).toMatchObject({ peakBytes: expect.any(Number), peakOf: 'process' });
  expect((await lra(train('stopped', '--resume'))).code).toBe(0);
  expect(learned(run)).toEqual(learned(whole));
});

test('however a batch is cut, the same rows are validated and tested', async () => {
  const { stdout } = await lra(train('dropped', '--micro-batch', '2', '--last-batch', 'dropped', '--json'));
  const [run] = JSON.parse(stdout).runs;
  // Two of the ten rows fill no batch of four.
  expect(run.testExamples).toBe(8);
  const args = ['eval', '--run', run.folder, '--data', data, '--k', 'exact', '--backend', 'reference'];
  for (const batch of ['3', '10']) {
    const { stdout: shown } = await lra([...args, '--batch', batch, '--json']);
    expect(JSON.parse(shown).runs[0].evaluations).toMatchObject([
      { examples: 8, accuracy: run.test, loss: expect.closeTo(run.testLoss, 5) },
    ]);
  }
});

test('a smaller part of the batch at a time learns nearly the same', async () => {
  const { stdout } = await lra(train('parts', '--micro-batch', '2', '--json'));
  const [run] = JSON.parse(stdout).runs;
  expect(
    Math.abs(run.testLoss - JSON.parse(readFileSync(join(whole, 'result.json'), 'utf8')).testLoss),
  ).toBeLessThan(0.3);
});

test('trimmed parts: a run of its own, shorter where texts are, and resumed it ends with the same bits', async () => {
  const texts = join(folder, 'texts');
  mkdirSync(texts);
  const line = (_: unknown, row: number): string =>
    JSON.stringify({ text: 'so so '.repeat(1 + ((7 * row) % 20)), label: row % 2 });
  for (const split of ['train', 'test'])
    writeFileSync(join(texts, `${split}.jsonl`), Array.from({ length: 8 }, line).join('\n'));
  const own = ['--task', 'text', '--data', texts, '--tokens', '72', '--steps', '12'];
  const trimmed = (out: string, ...more: readonly string[]): readonly string[] =>
    lastOfEach(train(out, ...own, '--eval-every', '12', ...more));
  const { stdout } = await lra(trimmed('trimmed', '--trim', '--json'));
  const [run] = JSON.parse(stdout).runs;
  expect(run.folder).toBe(join(folder, 'trimmed/text-small-clean-exact-trimmed-seed-1'));
  expect(readConfiguration(run.folder)).toMatchObject({ microBatch: 1, trimmed: true });
  const controller = new AbortController();
  const stopped = join(folder, 'trimmed-stopped/text-small-clean-exact-trimmed-seed-1');
  const running = lra(trimmed('trimmed-stopped', '--trim'), controller.signal);
  while (!existsSync(join(stopped, 'metrics.jsonl'))) await new Promise((done) => setTimeout(done, 5));
  controller.abort();
  expect((await running).code).toBe(130);
  expect((await lra(trimmed('trimmed-stopped', '--trim', '--resume'))).code).toBe(0);
  expect(learned(stopped)).toEqual(learned(run.folder));
});

test('redrawn features: a run of its own, and resumed it ends with the same bits', async () => {
  const more = ['--mechanism', 'performer', '--features', '8', '--redraw', '5'];
  const { stdout } = await lra(train('redrawn', ...more, '--json'));
  const [{ folder: run, mechanism }] = JSON.parse(stdout).runs;
  expect(run).toBe(join(folder, 'redrawn/listops-small-clean-performer-redraw-5-seed-1'));
  expect(mechanism).toEqual({ name: 'performer', features: 8, redraw: 5 });
  const controller = new AbortController();
  const stopped = join(folder, 'redrawn-stopped/listops-small-clean-performer-redraw-5-seed-1');
  const running = lra(train('redrawn-stopped', ...more), controller.signal);
  while (!existsSync(join(stopped, 'metrics.jsonl'))) await new Promise((done) => setTimeout(done, 5));
  controller.abort();
  expect((await running).code).toBe(130);
  expect((await lra(train('redrawn-stopped', ...more, '--resume'))).code).toBe(0);
  expect(learned(stopped)).toEqual(learned(run));
  await lra(train('drawn-once', ...more.slice(0, -2)));
  const once = join(folder, 'drawn-once/listops-small-clean-performer-seed-1');
  expect(learned(once)).not.toEqual(learned(run));
});

test('mixed precision: a run of its own with a loss scale; refused where there is no f16', async () => {
  const { stdout } = await lra(train('mixed', '--precision', 'mixed', '--json'));
  const [run] = JSON.parse(stdout).runs;
  expect(run.folder).toBe(join(folder, 'mixed/listops-small-clean-exact-mixed-seed-1'));
  expect(readConfiguration(run.folder)).toMatchObject({ precision: 'mixed' });
  expect(readMetrics(run.folder).at(-2)).toMatchObject({ loss_scale: expect.any(Number) });
  const { testLoss } = JSON.parse(readFileSync(join(whole, 'result.json'), 'utf8'));
  expect(Math.abs(run.testLoss - testLoss)).toBeLessThan(0.3);
  // A native engine, so not in this process.
  const args = lastOfEach(train('no-halves', '--precision', 'mixed', '--backend', 'onnxruntime', '--json'));
  const child = spawn(process.execPath, [cli, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text));
  await once(child, 'close');
  expect(JSON.parse(printed).error).toMatchObject({
    code: 'UNSUPPORTED',
    message: expect.stringContaining('no mixed precision'),
  });
});

test('a sweep in shards: every run once, each beginning with the same weights', async () => {
  const sweep = ['--mechanism', 'top-k,performer-relu', '--k', '8', '--features', '16', '--steps', '2'];
  const of = async (shard: string): Promise<readonly string[]> => {
    const { stdout } = await lra(
      lastOfEach(train('sweep', ...sweep, '--eval-every', '2', '--shard', shard, '--json')),
    );
    return JSON.parse(stdout).runs.map((run: { folder: string }) => run.folder);
  };
  const [first, second] = [await of('1/2'), await of('2/2')];
  expect([...first, ...second].map((path) => path.slice(join(folder, 'sweep').length + 1)).sort()).toEqual([
    'listops-small-clean-performer-relu-seed-1',
    'listops-small-clean-top-k-8-seed-1',
  ]);
});

describe('what is refused', () => {
  /** A copy of the finished run that has lost its result. */
  const unfinished = (name: string): string => {
    mkdirSync(join(folder, name));
    cpSync(whole, join(folder, name, RUN), {
      recursive: true,
      filter: (path) => !path.endsWith('result.json'),
    });
    return join(folder, name, RUN);
  };

  test('two processes in one folder, and not the lock of a dead one', async () => {
    const run = unfinished('locked');
    writeFileSync(join(run, 'lock'), JSON.stringify({ host: hostname(), pid: process.ppid }));
    expect(await errorOf(train('locked', '--resume'))).toMatchObject({
      code: 'LOCKED',
      message: expect.stringContaining(`process ${process.ppid}`),
      fix: expect.stringContaining('lock'),
    });
    writeFileSync(join(run, 'lock'), JSON.stringify({ host: 'elsewhere', pid: 1 }));
    expect((await errorOf(train('locked', '--resume'))).message).toContain('elsewhere');
    writeFileSync(join(run, 'lock'), JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1 }));
    expect((await lra(train('locked', '--resume'))).code).toBe(0);
    expect(existsSync(join(run, 'lock'))).toBe(false);
  });

  test('half a checkpoint', async () => {
    const run = unfinished('half');
    truncateSync(join(run, 'checkpoints/checkpoint-12/model.safetensors'), 1000);
    const { code, fix } = await errorOf(train('half', '--resume'));
    expect(code).toBe('FILE_TRUNCATED');
    expect(fix).toMatch(/Remove the checkpoint of step 12/);
  });

  test('a run of another version, and one with other options', async () => {
    const run = unfinished('version');
    const path = join(run, 'config.json');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace('"version": 1', '"version": 2'));
    expect((await errorOf(train('version', '--resume'))).code).toBe('UNSUPPORTED');
    writeFileSync(path, text.replace('"evalEvery": 4', '"evalEvery": 5'));
    expect(await errorOf(train('version', '--resume'))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('training.evalEvery: 5 and 4'),
    });
    writeFileSync(path, text.slice(0, 200));
    expect((await errorOf(train('version', '--resume'))).code).toBe('FILE_CORRUPT');
  });

  test('a log of another run, and one with a broken line', async () => {
    const path = join(unfinished('log'), 'metrics.jsonl');
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace(/"configuration":"\w+"/, '"configuration":"0"'));
    expect((await errorOf(train('log', '--resume'))).code).toBe('INVALID_OPTION');
    writeFileSync(path, text.replace(/^\{"step":4/m, '{"step:4'));
    expect((await errorOf(train('log', '--resume'))).code).toBe('FILE_CORRUPT');
  });

  test('a disk that is full: an error, and what was saved goes on', async () => {
    if (process.platform === 'win32') return;
    const run = join(folder, 'full', RUN);
    // Files end at 64 KiB; a checkpoint is larger.
    const line = ['ulimit -f 64; exec "$0" "$@"', process.execPath, cli, ...train('full', '--json')];
    const child = spawn('bash', ['-c', ...line], { stdio: ['ignore', 'pipe', 'ignore'] });
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    await once(child, 'close');
    expect(JSON.parse(stdout).error).toMatchObject({ code: 'FILE_NOT_WRITTEN' });
    expect((await lra(train('full', '--resume'))).code).toBe(0);
    expect(learned(run)).toEqual(learned(whole));
  });

  test.each<[string, readonly string[], RegExp]>([
    ['a part that does not divide the batch', ['--micro-batch', '3'], /micro-batch.*divides the batch of 4/],
    [
      'a batch that is larger than the rows',
      ['--batch', '64'],
      /--batch does not fit.*at most the 40 training rows/,
    ],
    ['pixels of words', ['--zero-pixel', 'masked'], /zero-pixel does not fit/],
    ['one step', ['--steps', '1'], /at least 2/],
    ['too many tokens', ['--tokens', '4000'], /at most 2000 for listops/],
    ['a warm-up longer than the run', ['--warmup', '13'], /at most 12 steps/],
  ])('%s', async (_name, more, message) => {
    const args = lastOfEach(train('refused', ...more));
    expect(await errorOf(args)).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(message),
    });
  });

  test.each<[string, readonly string[], RegExp]>([
    ['k without top-k', ['--k', '4'], /--k goes with --mechanism top-k/],
    ['redrawing without performer', ['--redraw', '4'], /--redraw goes with --mechanism performer/],
    ['a shard of none', ['--shard', '3/2'], /Expected i\/n/],
    ['a mechanism that is none', ['--mechanism', 'exactly'], /Expected one of exact/],
    ['one seed twice', ['--seed', '1,1'], /each value once/],
  ])('%s is wrong use', async (_name, more, message) => {
    const { code, stderr } = await lra(train('refused', ...more));
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});
