import { expect, test } from 'vitest';
import { lineChart } from '../../src/report/line-chart.js';
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
  expect(svg).not.toContain('NaN');
});

test('no points at all', () => {
  expect(lineChart({ title: 't', x: { title: 'x' }, y: { title: 'y' }, series: [] })).not.toContain('NaN');
});
