import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { crossingCharts } from '../../src/bench/crossing-charts.js';
import { type BenchResult, type BenchRow, encodeBench } from '../../src/bench/result.js';
import { crossingPicture } from '../../src/report/crossing-picture.js';
import { lra, temporaryFolder } from '../support/command-line.js';

const lengths = [100, 400, 1600, 6400];
const about = { title: 'By length', about: '', engine: '', date: '', command: '' };
const resultOf = (rows: readonly BenchRow[]): BenchResult => ({ ...about, study: 'mechanisms', rows });

/** Rows of a way whose time, and memory if given, are functions of the length. */
const way = (
  name: string,
  time: (x: number) => number,
  memory?: (x: number) => number,
  at: readonly number[] = lengths,
): BenchRow[] =>
  at.map((x) => ({
    ...{ way: name, x, direction: 'forward + backward' as const, milliseconds: time(x) },
    ...(memory !== undefined && { peakBytes: memory(x) }),
  }));

const square = (x: number): number => x * x;
const rows = [
  ...way('exact', square, (x) => 2 * x),
  ...way('top-k 8', (x) => 1000 * x, square),
  // Never less than either.
  ...way('slow', (x) => 1e6 * x),
  // Always less than both.
  ...way(
    'quick',
    (x) => x,
    (x) => x,
  ),
  // Less than exact at both ends: they are equal at 200 and at 3,200. Never less than top-k in memory.
  ...way(
    'twice',
    (x) => (x === 100 || x === 6400 ? square(x) / 2 : 2 * square(x)),
    (x) => 3 * square(x),
  ),
  ...way('short', (x) => 200 * x, undefined, [100, 400]),
  ...way('once', (x) => 1e9 * x, undefined, [100]),
  { way: 'none', x: 100, direction: 'forward + backward' as const, refused: 'OUT_OF_MEMORY: no room' },
];

const about1 = (value: number) => expect.closeTo(value, 6);
const span = (from: number, to: number) => ({ from: about1(from), to: about1(to) });
const laneOf = (charts: ReturnType<typeof crossingCharts>, chart: number, name: string, lane: number) =>
  charts[chart]?.rows.find((row) => row.name === name)?.lanes[lane];

test('bars over the lengths of less time, marks where they begin and end', () => {
  const charts = crossingCharts(resultOf(rows));
  expect(charts.map(({ title, ticks }) => [title, ticks])).toEqual([
    ['By length: where each takes less time', lengths],
    ['By length: where each takes less memory', lengths],
  ]);
  expect(charts[0]?.lanes).toEqual([
    { name: 'less time than exact', className: 'exact' },
    { name: 'less time than top-k 8', className: 'top-k' },
  ]);
  const known = { from: 100, to: 6400 };
  // x^2 = 1000 x at 1000; the same times, so the same place from the other side.
  const marks = [{ at: about1(1000), text: '1,000' }];
  expect(laneOf(charts, 0, 'top-k 8', 0)).toEqual({ known, spans: [span(1000, 6400)], marks });
  expect(laneOf(charts, 0, 'top-k 8', 1)).toBeUndefined();
  for (const lane of [0, 1]) {
    expect(laneOf(charts, 0, 'slow', lane)).toEqual({ known, spans: [], marks: [] });
    expect(laneOf(charts, 0, 'quick', lane)).toEqual({ known, spans: [known], marks: [] });
  }
  expect(laneOf(charts, 0, 'twice', 0)).toEqual({
    known,
    spans: [span(100, 200), span(3200, 6400)],
    marks: [
      { at: about1(200), text: '200' },
      { at: about1(3200), text: '3,200' },
    ],
  });
  // 200 x = x^2 at 200; nothing is said beyond 400.
  expect(laneOf(charts, 0, 'short', 0)).toMatchObject({
    known: { from: 100, to: 400 },
    spans: [span(200, 400)],
  });
  expect(laneOf(charts, 0, 'once', 1)).toEqual({ known: { from: 100, to: 100 }, spans: [], marks: [] });
});

test('on top who takes less than exact over the most of the axis, then less than top-k', () => {
  const [time, memory] = crossingCharts(resultOf(rows));
  // By exact: all of 100 to 6,400, then 6.4 times, 4 times and 2 times, then nothing; a refused one has no row.
  const names = ['quick', 'top-k 8', 'twice', 'short', 'slow', 'once'];
  expect(time?.rows.map(({ name }) => name)).toEqual(names);
  // In memory only those that have it.
  expect(memory?.rows.map(({ name }) => name)).toEqual(['quick', 'top-k 8', 'twice']);
  // Both are always less than exact: the second lane decides, whatever the order of the rows.
  const equal = [
    ...way('exact', (x) => 10 * square(x)),
    ...way('top-k 8', (x) => square(x)),
    ...way('later', (x) => square(x) * (x > 400 ? 2 : 0.5)),
    ...way('earlier', (x) => square(x) * (x > 1600 ? 2 : 0.5)),
  ];
  expect(crossingCharts(resultOf(equal))[0]?.rows.map(({ name }) => name)).toEqual([
    'earlier',
    'later',
    'top-k 8',
  ]);
  // The axis is logarithmic: 100 to 400 is more of it than 3,200 to 6,400.
  const ends = [
    ...way('exact', square),
    ...way('long', (x) => square(x) * (x === 6400 ? 0.5 : 2)),
    ...way('short', (x) => square(x) * (x < 800 ? 0.5 : 2)),
  ];
  expect(crossingCharts(resultOf(ends))[0]?.rows.map(({ name }) => name)).toEqual(['short', 'long']);
});

test('two that touch at a measured length do not cross there', () => {
  const meeting = [...way('exact', square), ...way('touch', (x) => (x === 400 ? square(x) : x))];
  expect(laneOf(crossingCharts(resultOf(meeting)), 0, 'touch', 0)).toEqual({
    known: { from: 100, to: 6400 },
    spans: [span(100, 6400)],
    marks: [],
  });
});

test('no chart: without memory, of one length, without exact and top-k, of other studies', () => {
  const timed = rows.map(({ peakBytes, ...row }) => row);
  expect(crossingCharts(resultOf(timed)).map(({ title }) => title)).toEqual([
    'By length: where each takes less time',
  ]);
  expect(crossingCharts(resultOf(rows.filter(({ x }) => x === 100)))).toEqual([]);
  expect(crossingCharts(resultOf(rows.filter(({ way: name }) => name === 'quick')))).toEqual([]);
  expect(crossingCharts({ ...resultOf(rows), study: 'attention' })).toEqual([]);
  expect(crossingPicture([])).toBeUndefined();
});

test('the picture has a panel of each chart of each bench, with marks in proportion', () => {
  const second = { ...resultOf(rows.map(({ peakBytes, ...row }) => row)), title: 'On another engine' };
  const svg = crossingPicture([resultOf(rows), { ...resultOf(rows), study: 'attention' }, second]) ?? '';
  const titles = [...svg.matchAll(/<text class="title"[^>]*>([^<]*)</g)].map(([, title]) => title);
  expect(titles).toEqual([
    'By length: where each takes less time',
    'By length: where each takes less memory',
    'On another engine: where each takes less time',
  ]);
  const axis = [...svg.matchAll(/<line class="axis" x1="([\d.]+)"/g)].map(([, x]) => Number(x));
  const [left, right] = [axis[0] as number, axis[3] as number];
  const mark = /cx="([\d.]+)"[^>]*><title>1,000</.exec(svg)?.[1];
  expect((Number(mark) - left) / (right - left)).toBeCloseTo(Math.log(10) / Math.log(64), 2);
  expect(svg).not.toMatch(/NaN|undefined/);
});

test('report --bench draws crossings on the page and in a file, if there are any', async () => {
  const folder = temporaryFolder();
  const file = join(folder, 'bench.json');
  const out = join(folder, 'out');
  writeFileSync(file, encodeBench([resultOf(rows)]));
  const { stdout } = await lra(['report', '--bench', file, '--out', out, '--json']);
  const written = join(out, 'crossings.svg');
  expect(JSON.parse(stdout).files).toContain(written);
  expect(readFileSync(written, 'utf8')).toBe(crossingPicture([resultOf(rows)]));
  const page = readFileSync(join(out, 'lra.html'), 'utf8');
  const [lines, chart, sentence] = [
    page.lastIndexOf('By length: memory, forward'),
    page.indexOf('By length: where each takes less time'),
    page.indexOf('up to about 1,000'),
  ];
  expect(lines).toBeGreaterThan(0);
  expect(chart).toBeGreaterThan(lines);
  expect(sentence).toBeGreaterThan(chart);
  expect(page).toContain('svg .behind { fill: var(--page); }');

  const none = join(folder, 'none');
  writeFileSync(file, encodeBench([resultOf(rows.filter(({ x }) => x === 100))]));
  const alone = await lra(['report', '--bench', file, '--out', none, '--json']);
  expect(JSON.parse(alone.stdout).files.join()).not.toContain('crossings');
  expect(existsSync(join(none, 'crossings.svg'))).toBe(false);
});
