import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { encodeBench } from '../../src/bench/result.js';
import { addEvaluations } from '../../src/evaluation/evaluations.js';
import { reportPicture } from '../../src/report/picture.js';
import type { Configuration } from '../../src/runs/configuration.js';
import { addSession, runFiles, writeConfiguration, writeJson } from '../../src/runs/run-folder.js';
import { changedPreset } from '../../src/sweep/configure.js';
import { errorOf, lra, temporaryFolder } from '../support/command-line.js';

const folder = temporaryFolder();

function configuration(mechanism: Configuration['mechanism'], seed: number, steps = 5000): Configuration {
  const { model, training } = changedPreset('small', 'listops', { steps });
  const data = {
    hash: 'abc',
    rows: { train: 9, validation: 2, test: 2 },
    majority: 17.7,
    notes: ['<made> up'],
  };
  return { task: 'listops', preset: 'small', mechanism, seed, model, training, microBatch: 32, data };
}

/** A finished run that nobody trained. */
function run(name: string, one: Configuration, accuracy: number | undefined): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  writeConfiguration(path, one);
  const session = {
    date: '2026-01-02T03:04:05Z',
    command: 'c',
    from: 0,
    node: '20',
    system: 's',
    version: '0',
  };
  addSession(path, { ...session, engine: `engine of ${name.split('/')[0]}` });
  const lines = [{ journal: 'x' }, { step: 10, loss: 2.3 }, { step: 50, eval_accuracy: 20, eval_loss: 2 }];
  writeFileSync(
    join(path, runFiles.metrics),
    `${lines.map((line) => JSON.stringify(line)).join('\n')}\n{"ste`,
  );
  if (accuracy !== undefined)
    writeJson(join(path, runFiles.result), {
      ...{ steps: 5000, bestStep: 50, validation: 30, test: accuracy, testLoss: 2, testExamples: 2 },
      ...{ stepMs: 40, peakBytes: 2 ** 30, peakOf: 'device' },
    });
  return path;
}

run('one/exact-1', configuration({ name: 'exact' }, 1), 36);
run('one/exact-2', configuration({ name: 'exact' }, 2), 38);
const topK = run('two/deep/top-1', configuration({ name: 'top-k', k: 128 }, 1), 36.5);
run('two/deep/performer-1', configuration({ name: 'performer-relu', features: 256 }, 1), undefined);
addEvaluations(topK, [
  { k: 'exact', accuracy: 36.2, loss: 2, examples: 2 },
  { k: 8, accuracy: 30, loss: 2, examples: 2 },
]);
const bench = join(folder, 'bench.json');
writeFileSync(
  bench,
  encodeBench([
    {
      ...{
        study: 'attention',
        title: 'One layer',
        about: 'Sizes.',
        engine: 'e',
        date: '2026-01-02',
        command: 'c',
      },
      rows: [
        { way: 'top-k', x: 2048, direction: 'forward + backward', milliseconds: 12, peakBytes: 3 * 2 ** 20 },
        { way: 'whole', x: 2048, direction: 'forward + backward', refused: 'OUT_OF_MEMORY: no' },
      ],
    },
  ]),
);

test('folders from two places become one page and one Markdown file', async () => {
  const out = join(folder, 'report');
  const args = [
    'report',
    '--runs',
    `${join(folder, 'one')},${join(folder, 'two')}`,
    '--bench',
    bench,
    '--out',
    out,
  ];
  const { code, stdout } = await lra([...args, '--json']);
  expect(code).toBe(0);
  const [section] = JSON.parse(stdout).sections;
  expect(section.groups.map(({ title }: { title: string }) => title)).toEqual([
    'exact',
    'top-k 128',
    'performer-relu',
  ]);
  expect(section.groups[0]).toMatchObject({ mean: 37, accuracies: [36, 38], deviation: Math.SQRT2 });
  // Paired by seed: 36.5 against the exact run with seed 1.
  expect(section.groups[1].minusExact).toBeCloseTo(0.5);
  const html = readFileSync(join(out, 'lra.html'), 'utf8');
  expect(html).toContain('What it does not show: long-range reasoning');
  expect(html).toContain('37.00 ± 1.41');
  expect(html).toContain('majority class');
  expect(html).toContain('Nyströmformer');
  expect(html).toContain('top-k, paper (another GPU)');
  expect(html).toContain('&#60;made&#62; up');
  expect(html).not.toMatch(/<made>|NaN|undefined|https?:\/\//);
  expect(html.match(/<svg/g)?.length).toBe(3 + 2);
  const picture = readFileSync(join(out, 'lra.svg'), 'utf8');
  expect(picture).toMatch(/^<svg xmlns/);
  expect(picture).toContain('exact, seed');
  expect(picture).not.toMatch(/NaN|undefined/);
  const markdown = readFileSync(join(out, 'lra.md'), 'utf8');
  expect(markdown).toContain('| top-k 128 | 36.50 | +0.50 | 1 of 1 | 40 ms | 1,024 |');
  expect(markdown).toContain('| performer-relu | not finished |  | 0 of 1 |');
  expect(markdown).toContain('| top-k 128 | 1 | 30.00 | 36.20 |');
  expect(markdown).toContain('does not fit');
  expect(markdown).toContain('engine of one; engine of two');
});

test('the picture tells mechanisms apart', async () => {
  run('six/exact', configuration({ name: 'exact' }, 1), 35);
  run('six/rfa', configuration({ name: 'rfa', features: 256 }, 1), 30);
  run('six/sigmoid', configuration({ name: 'sigmoid' }, 1), 30);
  const out = join(folder, 'picture');
  expect((await lra(['report', '--runs', join(folder, 'six'), '--out', out])).code).toBe(0);
  const picture = readFileSync(join(out, 'lra.svg'), 'utf8');
  const colours = [...picture.matchAll(/class="line (series-\d)/g)].map(([, colour]) => colour);
  expect(new Set(colours)).toEqual(new Set(['series-1', 'series-2', 'series-3']));
});

test('mixed precision, redrawn or fewer features are rows of their own in the same table', async () => {
  run('five/mixed-1', { ...configuration({ name: 'exact' }, 1), precision: 'mixed' }, 35);
  run('five/redrawn-1', configuration({ name: 'performer', features: 256, redraw: 1000 }, 1), 30);
  run('five/performer-1', configuration({ name: 'performer', features: 256 }, 1), 31);
  run('five/few-1', configuration({ name: 'performer', features: 64 }, 1), 29);
  run('five/luna-1', configuration({ name: 'luna', landmarks: 16 }, 1), 28);
  const runs = [join(folder, 'one'), join(folder, 'five')].join();
  const { stdout } = await lra(['report', '--runs', runs, '--out', join(folder, 'r5'), '--json']);
  const [{ groups }] = JSON.parse(stdout).sections;
  const shown = groups.map(({ title, mean, minusExact }: { [name: string]: unknown }) => [
    title,
    mean,
    minusExact,
  ]);
  expect(shown).toEqual([
    ['exact', 37, undefined],
    ['exact mixed', 35, -1],
    ['performer, 64 features', 29, -7],
    ['performer', 31, -5],
    ['performer, redrawn every 1000', 30, -6],
    ['luna, 16 landmarks', 28, -8],
  ]);
});

test('configurations are not mixed, unless each gets its table', async () => {
  run('three/exact-3', configuration({ name: 'exact' }, 3, 20_000), 40);
  const args = [
    'report',
    '--runs',
    [join(folder, 'one'), join(folder, 'three')].join(),
    '--out',
    join(folder, 'r2'),
  ];
  expect(await errorOf(args)).toMatchObject({
    code: 'INVALID_OPTION',
    message: expect.stringContaining('training.steps: 5000 and 20000'),
    fix: expect.stringContaining('--separate'),
  });
  const { stdout } = await lra([...args, '--separate', '--json']);
  expect(JSON.parse(stdout).sections).toHaveLength(2);
});

test('refused: one run twice, no runs, half a bench file, an output that is a folder', async () => {
  run('four/again', configuration({ name: 'exact' }, 1), 36);
  const of = (runs: readonly string[], ...more: readonly string[]): string[] => [
    ...[
      'report',
      '--runs',
      runs.map((name) => join(folder, name)).join(),
      '--out',
      join(folder, 'r3'),
      ...more,
    ],
  ];
  expect((await errorOf(of(['one', 'four']))).message).toContain('one run is there twice');
  mkdirSync(join(folder, 'empty'));
  expect((await errorOf(of(['empty']))).code).toBe('FILE_NOT_FOUND');
  expect((await errorOf(of(['nowhere']))).code).toBe('FILE_NOT_FOUND');
  const half = join(folder, 'half.json');
  writeFileSync(half, readFileSync(bench).subarray(0, 90));
  expect((await errorOf(of(['one'], '--bench', half))).code).toBe('FILE_CORRUPT');
  mkdirSync(join(folder, 'r3/lra.html'), { recursive: true });
  expect((await errorOf(of(['one']))).code).toBe('FILE_NOT_FOUND');
});

test('a comparison of mechanisms by length is drawn too', () => {
  const rows = ['exact', 'luna'].flatMap((way) =>
    [1024, 4096].map((x) => ({
      ...{ way, x, direction: 'forward + backward' as const },
      ...{ milliseconds: x / 100, peakBytes: 1024 * x },
    })),
  );
  const about = { about: '', engine: '', date: '', command: '' };
  const result = { ...about, study: 'mechanisms' as const, title: 'A step by length', rows };
  const picture = reportPicture({ sections: [], needles: [], benches: [result] });
  expect(picture?.match(/<polyline/g)).toHaveLength(4);
  expect(picture).toContain('A step by length: memory, forward + backward');
  expect(reportPicture({ sections: [], needles: [], benches: [] })).toBeUndefined();
});

test('a report of benchmarks alone, or of nothing', async () => {
  const rows = [
    { way: 'exact', x: 1024, direction: 'forward' as const, milliseconds: 5, peakBytes: 2 ** 20 },
  ];
  const result = {
    study: 'mechanisms' as const,
    title: 'By length',
    about: '',
    engine: '',
    date: '',
    command: '',
  };
  const file = join(folder, 'alone.json');
  writeFileSync(file, encodeBench([{ ...result, rows }]));
  const out = join(folder, 'alone');
  expect((await lra(['report', '--bench', file, '--out', out])).code).toBe(0);
  expect(readFileSync(join(out, 'lra.svg'), 'utf8')).toContain('By length: time, forward');
  const { code, message } = await errorOf(['report', '--out', out]);
  expect(code).toBe('USAGE');
  expect(message).toContain('nothing to report');
});

test.each([
  ['nothing', null],
  ['no rows', {}],
  ['an unknown study', { study: 'another', rows: [] }],
  ['a row that is none', { rows: [{}] }],
  ['a row of another direction', { rows: [{ way: 'exact', x: 8, direction: 'sideways' }] }],
])('a file of benchmarks with %s is refused', async (_, wrong) => {
  const texts = { title: '', about: '', engine: '', date: '', command: '' };
  const result = wrong && { study: 'mechanisms', ...texts, ...wrong };
  const file = join(folder, 'wrong.json');
  writeFileSync(file, JSON.stringify({ format: 'topk-attention lra bench 1', results: [result] }));
  expect(await errorOf(['report', '--bench', file, '--out', folder])).toMatchObject({ code: 'FILE_CORRUPT' });
});

test('a file in the place of a folder is told', async () => {
  const file = join(folder, 'file.json');
  writeFileSync(file, '{}');
  expect(await errorOf(['report', '--runs', file])).toMatchObject({
    code: 'FILE_NOT_FOUND',
    message: expect.stringContaining('got a file'),
  });
  const quick = await errorOf(['quick', '--out', file, '--backend', 'reference']);
  expect(quick.code).toBe('FILE_NOT_WRITTEN');
});

test('trimmed runs are rows of their own, and a peak of the whole process is called that', async () => {
  const own = configuration({ name: 'exact' }, 1);
  const path = run('trimmed/exact-1', { ...own, microBatch: 8, trimmed: true }, 35);
  const textOf = async (): Promise<string> => {
    const out = join(folder, 'trimmed-page');
    await lra(['report', '--runs', `${join(folder, 'one')},${join(folder, 'trimmed')}`, '--out', out]);
    return readFileSync(join(out, 'lra.md'), 'utf8');
  };
  const page = await textOf();
  expect(page).toContain('exact, trimmed');
  expect(page).not.toContain('the most that the process has taken');
  const result = JSON.parse(readFileSync(join(path, runFiles.result), 'utf8'));
  writeJson(join(path, runFiles.result), { ...result, peakOf: 'process' });
  expect(await textOf()).toContain('the most that the process has taken');
});
