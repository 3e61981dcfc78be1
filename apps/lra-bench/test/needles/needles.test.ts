import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { readNeedleConfiguration, readRetrievals } from '../../src/needles/run-folder.js';
import { errorOf, lastOfEach, lra, temporaryFolder } from '../support/command-line.js';
import { failingHost } from '../support/failing-host.js';

const folder = temporaryFolder();
const RUN = 'needles-top-k-8-seed-1';
const tiny = [
  ...['--k', '8', '--steps', '6', '--tokens', '70', '--step-tokens', '70', '--width', '8', '--symbols', '16'],
  ...['--eval-every', '3', '--save-every', '1', '--backend', 'reference'],
];
const train = (out: string, ...more: readonly string[]): string[] => [
  ...['needles', 'train', '--out', join(folder, out), ...tiny, ...more],
];
const whole = join(folder, 'whole', RUN);
const evaluate = (...more: readonly string[]): string[] => [
  ...['needles', 'eval', '--run', whole, '--rows', '4', '--backend', 'reference', ...more],
];
const bytes = (path: string): string => readFileSync(path).toString('base64');

beforeAll(async () => {
  const { code, stdout } = await lra(train('whole', '--json'));
  expect(code).toBe(0);
  expect(JSON.parse(stdout).runs).toMatchObject([
    { folder: whole, mechanism: { name: 'top-k', k: 8 }, seed: 1, steps: 6, loss: expect.any(Number) },
  ]);
});

test('a run says what it was made of', () => {
  expect(readNeedleConfiguration(whole)).toMatchObject({
    task: { symbols: 16, keyTokens: 4, valueTokens: 4 },
    mechanism: { name: 'top-k', k: 8 },
    model: { width: 8, hidden: 16 },
    training: { steps: 6, warmup: 1, tokens: 70, stepTokens: 70, evalEvery: 3 },
  });
});

test('stopped and resumed, a run ends with the same bits', async () => {
  const controller = new AbortController();
  const run = join(folder, 'stopped', RUN);
  const running = lra(train('stopped'), controller.signal);
  while (!existsSync(join(run, 'metrics.jsonl'))) await new Promise((done) => setTimeout(done, 5));
  controller.abort();
  const { code, stderr } = await running;
  expect(code).toBe(130);
  expect(stderr).toContain('--resume');
  expect((await errorOf(train('stopped'))).code).toBe('INVALID_OPTION');
  expect((await lra(train('stopped', '--resume'))).code).toBe(0);
  for (const file of ['best.safetensors', 'checkpoints/checkpoint-6/optimizer.safetensors'])
    expect(bytes(join(run, file))).toBe(bytes(join(whole, file)));
});

test('report says what was not asked yet', async () => {
  const { code, stdout } = await lra(['report', '--runs', whole, '--out', join(folder, 'empty')]);
  expect(code).toBe(0);
  expect(stdout).toContain('trained with top-k 8\n\nnot asked yet: pnpm lra needles eval\n');
});

test('eval adds lengths to the run, keeps those with --resume, and report shows them', async () => {
  const first = await lra(evaluate('--k', '8,exact', '--lengths', '40,20', '--json'));
  expect(first.code).toBe(0);
  const [{ retrievals }] = JSON.parse(first.stdout).runs;
  expect(retrievals).toMatchObject([
    { k: 8, tokens: 20, rows: 4, accuracy: expect.any(Number), rowMs: expect.any(Number) },
    { k: 8, tokens: 40 },
    { k: 'exact', tokens: 20 },
    { k: 'exact', tokens: 40 },
  ]);
  const before = readRetrievals(whole);
  await lra(evaluate('--k', '8', '--lengths', '20,80', '--resume'));
  const after = readRetrievals(whole);
  expect(after.filter(({ tokens }) => tokens < 80)).toEqual(before);
  expect(after.map(({ k, tokens }) => [k, tokens])).toEqual([
    [8, 20],
    [8, 40],
    [8, 80],
    ['exact', 20],
    ['exact', 40],
  ]);

  const out = join(folder, 'report');
  const { code, stdout } = await lra(['report', '--runs', join(folder, 'whole'), '--out', out, '--json']);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ sections: [], needles: [{ seed: 1, mechanism: { k: 8 } }] });
  const html = readFileSync(join(out, 'lra.html'), 'utf8');
  // Accuracy, time, memory, and where the needles lie for both numbers of kept keys.
  expect(html.match(/<svg/g)?.length).toBe(3 + 2);
  expect(html).toContain('with k 8, by length and depth of the needle');
  expect(html).not.toMatch(/NaN|undefined/);
  const markdown = readFileSync(join(out, 'lra.md'), 'utf8');
  expect(markdown).toContain('### Trained with top-k 8, seed 1');
  expect(markdown).toMatch(/\| 80 \| \d+\.0 \| 4 \|/);
});

test('a k stops after the length whose rows took too long', async () => {
  const { stdout } = await lra(evaluate('--k', '4', '--lengths', '20,40', '--most', '0.000001', '--json'));
  expect(JSON.parse(stdout).runs[0].retrievals).toHaveLength(1);
});

test('a k for which memory runs out is refused, and the next one is asked on a new engine', async () => {
  const host = failingHost();
  const { stdout } = await lra(evaluate('--k', '5,exact', '--lengths', '20,40', '--json'), undefined, host);
  expect(JSON.parse(stdout).runs[0].retrievals).toMatchObject([
    { k: 5, tokens: 20, rows: 0, refused: expect.stringMatching(/^OUT_OF_MEMORY: fake/) },
    { k: 'exact', tokens: 20, rows: 4, accuracy: expect.any(Number) },
    { k: 'exact', tokens: 40, rows: 4, accuracy: expect.any(Number) },
  ]);
  expect(host.opened()).toBe(2);
});

test.each<[string, readonly string[], RegExp]>([
  ['rows shorter than a needle', evaluate('--lengths', '18'), /at least 19 tokens/],
  ['a step shorter than a row', train('short', '--tokens', '128'), /--step-tokens does not fit/],
  ['a training shorter than its first rows', train('short', '--tokens', '32'), /--tokens does not fit/],
  ['a width that the heads do not divide', train('short', '--width', '9'), /--width does not fit/],
  ['a folder that is no run', ['needles', 'eval', '--run', folder], /is no needle run/],
])('%s is refused', async (_name, args, message) => {
  expect((await errorOf(lastOfEach(args))).message).toMatch(message);
});

test('a result of another version', async () => {
  const path = join(whole, 'needles.json');
  const text = readFileSync(path, 'utf8');
  writeFileSync(path, text.replace('"version": 1', '"version": 2'));
  expect((await errorOf(evaluate())).code).toBe('UNSUPPORTED');
  writeFileSync(path, text);
});

test('wrong use is told by the command that it is of', async () => {
  const { code, stderr } = await lra(['needles', 'train', '--mechanism', 'exact', '--k', '8']);
  expect(code).toBe(2);
  expect(stderr).toContain('--k goes with --mechanism top-k');
  const unknown = await lra(['needles', 'eval', '--runs', 'x']);
  expect(unknown.code).toBe(2);
  expect(unknown.stderr).toContain('See pnpm lra needles eval --help');
  expect((await lra(['needles', 'train', '--seed', '1', '--seed', '2'])).code).toBe(2);
});
