import { expect, test } from 'vitest';
import { LINE_STYLES, type LineChart, lineChart, lineChartFile } from '../../src/report/line-chart.js';
import { linearScale, logScale, tickText } from '../../src/report/scale.js';

test('even ticks, rounded outwards', () => {
  expect(linearScale(0, 97, 0, 100).ticks).toEqual([0, 20, 40, 60, 80, 100]);
  expect(linearScale(0.31, 0.42, 0, 1).ticks[0]).toBeLessThanOrEqual(0.31);
  expect(linearScale(3, 3, 0, 1).ticks.length).toBeGreaterThan(1);
  const scale = linearScale(0, 100, 10, 20);
  expect([scale.at(0), scale.at(50), scale.at(100)]).toEqual([10, 15, 20]);
});

test('powers of two, or of ten over a wide range', () => {
  const scale = logScale(8, 256, 0, 50);
  expect(scale.ticks).toEqual([8, 16, 32, 64, 128, 256]);
  expect(scale.at(32)).toBeCloseTo(20);
  expect(logScale(1, 1e6, 0, 1).ticks).toEqual([1, 10, 100, 1000, 10_000, 100_000, 1_000_000]);
  expect(logScale(5, 5, 0, 1).ticks).toEqual([4, 8]);
});

test('numbers of ticks', () => {
  expect([tickText(65_536), tickText(0.1 + 0.2), tickText(20)]).toEqual(['65,536', '0.3', '20']);
});

test('lines, levels and a description for screen readers', () => {
  const svg = lineChart({
    title: 'Accuracy <1>',
    x: { title: 'k', isLog: true },
    y: { title: 'per cent' },
    series: [
      { name: 'exact & top-k', className: 'exact', points: [8, 16, 32].map((x) => ({ x, y: x / 2 })) },
      { name: 'nothing', className: 'none', points: [] },
    ],
    levels: [{ name: 'majority', y: 17 }],
  });
  expect(svg).toContain('aria-label="Accuracy &#60;1&#62;. per cent by k. exact &#38; top-k: 16 at 32."');
  expect(svg.match(/<polyline/g)).toHaveLength(1);
  expect(svg.match(/<circle/g)).toHaveLength(3);
  expect(svg).toContain('class="level"');
  // The last label would reach into the legend.
  expect(svg).toMatch(/text-anchor="middle">8<[\s\S]*text-anchor="middle">16<[\s\S]*text-anchor="end">32</);
  expect(svg).not.toContain('NaN');
});

test('no points at all', () => {
  expect(lineChart({ title: 't', x: { title: 'x' }, y: { title: 'y' }, series: [] })).not.toContain('NaN');
});

const chart: LineChart = {
  title: 'Losses <of> two',
  x: { title: 'steps' },
  y: { title: 'loss' },
  series: [
    {
      name: 'exact',
      points: [
        { x: 0, y: 4 },
        { x: 50, y: 2, low: 1, high: 3 },
        { x: 100, y: 1, low: 0, high: 2 },
      ],
    },
    { name: 'top-k', points: [{ x: 100, y: 1.5 }] },
  ],
};

/** Places of the first shape of a kind. */
function places(svg: string, kind: 'polyline' | 'polygon'): { x: number; y: number }[] {
  const points = new RegExp(`<${kind}[^>]* points="([^"]*)"`).exec(svg)?.[1] ?? '';
  return points.split(' ').map((place) => {
    const [x = Number.NaN, y = Number.NaN] = place.split(',').map(Number);
    return { x, y };
  });
}

test('points lie in proportion, in a band from the lowest to the highest', () => {
  const svg = lineChartFile('Losses', [chart]);
  const [first, second, third] = places(svg, 'polyline');
  expect(second!.x - first!.x).toBeCloseTo(third!.x - second!.x, 1);
  // 4 to 2 is twice as far as 2 to 1, and the smaller loss is lower on the page.
  expect(second!.y - first!.y).toBeCloseTo(2 * (third!.y - second!.y), 1);
  expect(third!.y).toBeGreaterThan(first!.y);
  const band = places(svg, 'polygon');
  expect(band).toHaveLength(6);
  // Where nothing was given the band is as thin as the line; at 100 it goes from 2, above, to 0.
  expect([band[0], band[5]]).toEqual([first, first]);
  expect(band[2]?.y).toBe(second!.y);
  expect(band[3]!.y - band[2]!.y).toBeCloseTo(2 * (third!.y - second!.y), 1);
  // Only the first series has one.
  expect(svg.match(/<polygon/g)).toHaveLength(1);
});

test('an axis that ends lower cuts the lines above it', () => {
  const cutChart = { ...chart, y: { ...chart.y, most: 2 } };
  for (const draw of [lineChart, (one: LineChart) => lineChartFile('Losses', [one])]) {
    const [whole, cut] = [draw(chart), draw(cutChart)];
    expect(places(cut, 'polyline')[0]?.y).toBeLessThan(places(whole, 'polyline')[0]?.y as number);
    // 2 is now at the top, where 4 was.
    expect(places(cut, 'polyline')[1]?.y).toBe(places(whole, 'polyline')[0]?.y);
    expect(cut.match(/<clipPath id="plot">/g)).toHaveLength(1);
    expect(cut).toContain('<g clip-path="url(#plot)">');
    expect(whole).not.toContain('url(#plot)');
  }
});

test('a file of several charts', () => {
  const svg = lineChartFile('Nothing & all', [
    { ...chart, series: [] },
    { ...chart, series: [{ name: 'flat', points: [{ x: 3, y: 1 }] }] },
  ]);
  expect(svg).toContain('aria-label="Nothing &#38; all. Losses &#60;of&#62; two. loss by steps. Losses');
  expect(svg).toContain('flat: 1 at 3.');
  expect(svg).not.toMatch(/NaN|Infinity|<of>/);
  expect(svg.match(/<g transform="translate\(0 \d+\)">/g)).toEqual([
    '<g transform="translate(0 0)">',
    '<g transform="translate(0 328)">',
  ]);
});

test('a file has room for long legends, and its lines look different', () => {
  const series = Array.from({ length: LINE_STYLES }, (_, at) => ({
    name: `a name of more than twenty letters, ${at}`,
    className: `series-${at + 1}`,
    points: [{ x: 0, y: at }],
  }));
  const svg = lineChartFile('Many', [{ ...chart, series }, chart]);
  const [, width = 0, height = 0] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)?.map(Number) ?? [];
  const places = [...svg.matchAll(/<text x="(\d+)" y="(\d+)">/g)].map(([, x, y]) => [Number(x), Number(y)]);
  for (const [x = 0, y = 0] of places) {
    expect(x + 7 * (series[0]?.name.length ?? 0)).toBeLessThanOrEqual(width);
    expect(y).toBeLessThan(height - 328);
  }
  const looks = [...svg.matchAll(/series-\d+ { color: (\S+); stroke-dasharray: ([^;]+); }/g)];
  expect(new Set(looks.map(([, colour, dashes]) => `${colour} ${dashes}`)).size).toBe(LINE_STYLES);
});
