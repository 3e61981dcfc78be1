import { expect, test } from 'vitest';
import { spreadChart } from '../../src/report/spread-chart.js';

test('dots, means, rings of cited numbers, levels', () => {
  const svg = spreadChart({
    title: 'ListOps',
    rows: [
      { name: 'exact', values: [36, 38, 37], figure: '37.0 ± 1.0', className: 'exact' },
      { name: 'exact (paper)', values: [37.1], figure: '37.1', className: 'exact', isCited: true },
    ],
    levels: [{ name: 'majority', value: 17.1 }],
  });
  expect(svg.match(/class="dot exact"/g)).toHaveLength(3);
  expect(svg.match(/<circle class="line exact"/g)).toHaveLength(1);
  expect(svg).toContain('exact: 37.0 ± 1.0; exact (paper): 37.1; majority: 17.1');
  expect(svg).not.toContain('NaN');
});
