import { expect, test } from 'vitest';
import { type LinePanel, linePanels } from '../../src/report/line-panels.js';

const panel: LinePanel = {
  title: 'Losses <of> two',
  xTitle: 'steps',
  yTitle: 'loss',
  lines: [
    {
      name: 'exact',
      points: [
        { x: 0, y: 4, low: 4, high: 4 },
        { x: 50, y: 2, low: 1, high: 3 },
        { x: 100, y: 1, low: 0, high: 2 },
      ],
    },
    { name: 'top-k', points: [{ x: 100, y: 1.5, low: 1.5, high: 1.5 }] },
  ],
};

/** Numbers of the path of the first line. */
function firstLine(svg: string): number[][] {
  const path = /<path class="line"[^>]* d="(M[^"]*L[^"]*)"/.exec(svg)?.[1] ?? '';
  return path
    .split(/[ML]/)
    .slice(1)
    .map((place) => place.split(' ').map(Number));
}

test('points lie in proportion, and the ends are spoken', () => {
  const svg = linePanels('Losses', [panel]);
  const [first, second, third] = firstLine(svg).map(([x, y]) => ({ x: x as number, y: y as number }));
  expect(second!.x - first!.x).toBeCloseTo(third!.x - second!.x, 1);
  // 4 to 2 is twice as far as 2 to 1, and the smaller loss is lower on the page.
  expect(second!.y - first!.y).toBeCloseTo(2 * (third!.y - second!.y), 1);
  expect(third!.y).toBeGreaterThan(first!.y);
  expect(svg).toContain(
    'aria-label="Losses. Losses &#60;of&#62; two, exact: 1; Losses &#60;of&#62; two, top-k: 1.5."',
  );
  expect(svg).not.toContain('<of>');
});

test('an axis that ends lower cuts the lines above it', () => {
  const whole = firstLine(linePanels('Losses', [panel]));
  const cut = firstLine(linePanels('Losses', [{ ...panel, yMost: 2 }]));
  expect(cut[0]?.[1]).toBeLessThan(whole[0]?.[1] as number);
  // 2 is now at the top, where 4 was.
  expect(cut[1]?.[1]).toBe(whole[0]?.[1]);
});

test('a panel without points, and one whose points are equal', () => {
  const flat = { x: 3, y: 1, low: 1, high: 1 };
  const svg = linePanels('Nothing', [
    { ...panel, lines: [] },
    { ...panel, lines: [{ name: 'flat', points: [flat] }] },
  ]);
  expect(svg).not.toContain('NaN');
  expect(svg).not.toContain('Infinity');
});
