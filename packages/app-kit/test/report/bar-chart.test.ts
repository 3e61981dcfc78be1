import { expect, test } from 'vitest';
import { barChart } from '../../src/report/bar-chart.js';

test('the longest bar is of the largest size, and every figure is spoken', () => {
  const bars = [
    { name: 'slow', size: 4, figure: '4 s' },
    { name: 'fast', size: 1, figure: '1 s' },
    { name: 'none', size: 0, figure: '<failed>' },
  ];
  const svg = barChart('Times', [
    { title: 'short', bars },
    { title: 'long', bars: [] },
  ]);
  const widths = [...svg.matchAll(/<rect class="(\w+)" .*? width="([\d.]+)"/g)].map(([, name, width]) => [
    name,
    Number(width),
  ]);
  const longest = widths[0]?.[1] as number;
  expect(widths).toEqual([
    ['slow', longest],
    ['fast', longest / 4],
    ['none', 1],
  ]);
  expect(svg).toContain(
    'aria-label="Times. short, slow: 4 s; short, fast: 1 s; short, none: &#60;failed&#62;."',
  );
  expect(svg).not.toContain('<failed>');
});
