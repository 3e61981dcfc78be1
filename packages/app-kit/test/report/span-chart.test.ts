import { expect, test } from 'vitest';
import { logScaleOver } from '../../src/report/scale.js';
import { type SpanChart, type SpanLane, spanChart, spanChartFile } from '../../src/report/span-chart.js';

/** Known from 100 to 1,600, with bars and marks at some of their ends. */
const lane = (spans: readonly [number, number][], marks: readonly number[], to = 1600): SpanLane => ({
  known: { from: 100, to },
  spans: spans.map(([from, to]) => ({ from, to })),
  marks: marks.map((at) => ({ at, text: String(at) })),
});
const chart: SpanChart = {
  ...{ title: 'Less <time>', xTitle: 'length', ticks: [100, 400, 1600], rest: 'not less' },
  lanes: [{ name: 'less than a' }, { name: 'less than b', className: 'own' }],
  rows: [
    { name: 'crosses & stays', lanes: [lane([[200, 1600]], [200]), lane([], [])] },
    { name: 'short', lanes: [lane([[100, 400]], [], 400), undefined] },
    {
      name: 'twice',
      lanes: [
        undefined,
        lane(
          [
            [100, 200],
            [800, 1600],
          ],
          [200, 800],
        ),
      ],
    },
    { name: 'at one', lanes: [lane([[100, 100]], [], 100), undefined] },
  ],
};

/** Where the rectangles of a class begin and end, but those of the legend, which come first. */
function stretches(svg: string, className: string, legend: number): [number, number][] {
  return [...svg.matchAll(new RegExp(`<rect class="${className}" x="([\\d.]+)"[^>]* width="([\\d.]+)"`, 'g'))]
    .map(([, x, width]): [number, number] => [Number(x), Number(x) + Number(width)])
    .slice(legend);
}

/** From the first tick to the last. */
function plotOf(svg: string): { readonly at: (value: number) => number } {
  const lines = [...svg.matchAll(/<line class="axis" x1="([\d.]+)"/g)].map(([, x]) => Number(x));
  return logScaleOver(chart.ticks, lines[0] as number, lines[2] as number);
}

test('an axis that ends at its ticks', () => {
  const scale = logScaleOver([100, 250, 1600], 10, 50);
  expect(scale.ticks).toEqual([100, 250, 1600]);
  expect([100, 200, 400, 1600].map(scale.at)).toEqual([10, 20, 30, 50].map((x) => expect.closeTo(x, 9)));
});

test.each([
  ['on a page', spanChart],
  ['in a file', (one: SpanChart) => spanChartFile('Crossings', [one])],
])('bars, tracks and marks stand where their values are: %s', (_, draw) => {
  const svg = draw(chart);
  const { at } = plotOf(svg);
  const close = (pairs: readonly [number, number][]) =>
    pairs.map(([from, to]) => [expect.closeTo(from, 0), expect.closeTo(to, 0)]);
  const between = (from: number, to: number): [number, number] => [at(from), at(to)];
  expect(stretches(svg, 'span series-1', 1)).toEqual(
    close([between(200, 1600), between(100, 400), [at(100) - 2.5, at(100) + 2.5]]),
  );
  expect(stretches(svg, 'span hollow own', 1)).toEqual(close([between(100, 200), between(800, 1600)]));
  expect(stretches(svg, 'track', 1)).toEqual(
    close([
      between(100, 1600),
      between(100, 1600),
      between(100, 400),
      between(100, 1600),
      [at(100) - 2.5, at(100) + 2.5],
    ]),
  );
  const marks = [...svg.matchAll(/<circle [^>]*cx="([\d.]+)"[^>]*><title>(\d+)</g)];
  expect(marks.map(([, x, text]) => [Number(x), text])).toEqual(
    [200, 200, 800].map((x) => [expect.closeTo(at(x), 0), String(x)]),
  );
  // Over the track: at the left of where a bar begins, at the right of where one ends.
  const numbers = [...svg.matchAll(/<text class="near" x="([\d.]+)" [^>]*text-anchor="(\w+)">(\d+)</g)];
  expect(numbers.map(([, x, anchor, text]) => [Number(x), anchor, text])).toEqual([
    [expect.closeTo(at(200) - 6, 0), 'end', '200'],
    [expect.closeTo(at(200) + 6, 0), 'start', '200'],
    [expect.closeTo(at(800) - 6, 0), 'end', '800'],
  ]);
  expect(svg).toContain(
    'Less &#60;time&#62;, by length. crosses &#38; stays: less than a from 200 to 1,600, less than b nowhere from 100 to 1,600; short: less than a from 100 to 400; twice: less than b from 100 to 200 and from 800 to 1,600; at one: less than a at 100.',
  );
  expect(svg).not.toMatch(/NaN|undefined|<time>/);
});

test('numbers never lie on each other or on marks; those without room are left to their marks', () => {
  const close = lane(
    [
      [100, 150],
      [160, 170],
      [180, 1600],
    ],
    [150, 160, 170, 180],
  );
  const svg = spanChart({ ...chart, rows: [{ name: 'close', lanes: [close, undefined] }] });
  const numbers = [...svg.matchAll(/<text class="near" x="([\d.]+)" [^>]*text-anchor="(\w+)">(\d+)</g)];
  const taken = numbers.map(([, x, anchor]): [number, number] =>
    anchor === 'end' ? [Number(x) - 19.2, Number(x)] : [Number(x), Number(x) + 19.2],
  );
  const marks = [...svg.matchAll(/ cx="([\d.]+)"/g)].map(([, x]): [number, number] => [
    Number(x) - 3,
    Number(x) + 3,
  ]);
  expect(marks).toHaveLength(4);
  // The first over its bar, the last over its own; the two between have no room.
  expect(numbers.map(([, , anchor, text]) => [anchor, text])).toEqual([
    ['end', '150'],
    ['start', '180'],
  ]);
  for (const [at, [low, high]] of taken.entries())
    for (const [from, to] of [...marks, ...taken.slice(0, at)]) expect(low >= to || high <= from).toBe(true);
});

test('ticks that are close keep their lines and lose their numbers, but for the ends', () => {
  const svg = spanChart({ ...chart, ticks: [100, 101, 400, 1590, 1600] });
  expect(svg.match(/class="axis"/g)).toHaveLength(5);
  const numbers = [...svg.matchAll(/text-anchor="middle">([\d,]+)</g)].map(([, text]) => text);
  expect(numbers).toEqual(['100', '400', '1,600']);
});

test('names have room before the numbers of the first bar, titles in the file', () => {
  const name = 'a mechanism with a name of some length';
  const rows = [{ name, lanes: [lane([[101, 1600]], [101]), undefined] }];
  const svg = spanChartFile('Crossings', [{ ...chart, title: 'T'.repeat(150), rows }, chart]);
  const [, x = 0] = /<text class="near" x="([\d.]+)"/.exec(svg)?.map(Number) ?? [];
  expect(x - 3 * 6.4).toBeGreaterThan(16 + 7 * name.length);
  const [, width = 0, height = 0] = /viewBox="0 0 (\d+) ([\d.]+)"/.exec(svg)?.map(Number) ?? [];
  expect(width).toBeGreaterThan(150 * 7.5);
  // The second panel is below the first, and ends in the file.
  const [first, second] = [...svg.matchAll(/translate\(0 ([\d.]+)\)/g)].map(([, y]) => Number(y));
  expect(first).toBe(0);
  const bottoms = [...svg.matchAll(/class="axis"[^>]* y2="([\d.]+)"/g)].map(([, y]) => Number(y));
  expect(second).toBeGreaterThan(bottoms[0] as number);
  expect((second as number) + (bottoms.at(-1) as number)).toBeLessThan(height);
  expect(svg).toContain('prefers-color-scheme: dark');
});
