import { expect, test } from 'vitest';
import { type CurveRun, curveCharts } from '../src/curves.js';
import { small } from '../src/presets.js';

function run(name: string, mechanism: 'exact' | 'top-k', losses: readonly number[], k = 16): CurveRun {
  return {
    config: {
      ...{ name, tokens: 'characters', training: { ...small.training, steps: 800 } },
      model: { mechanism, k, features: 8 },
    },
    metrics: [
      { step: 50, epoch: 0, loss: 9 },
      ...losses.map((eval_loss, at) => ({ step: 100 * (at + 1), epoch: 0, eval_loss })),
    ],
  };
}

test('a line is the mean of its seeds in a band, as far as all of them have come', () => {
  const [chart] = curveCharts([run('a', 'exact', [5, 3, 2]), run('a', 'exact', [7, 2])]);
  expect(chart?.series).toEqual([
    {
      name: 'exact (2 seeds)',
      points: [
        { x: 100, y: 6, low: 5, high: 7 },
        { x: 200, y: 2.5, low: 2, high: 3 },
      ],
    },
  ]);
  // The axis is for what follows the first eighth.
  expect(chart?.y.most).toBe(7);
});

test('a chart for each text, a line for each k, in order', () => {
  const charts = curveCharts([
    run('a', 'top-k', [3], 128),
    run('a', 'top-k', [2], 16),
    run('a', 'exact', [1]),
    run('b', 'exact', [4]),
  ]);
  expect(charts.map(({ title }) => title)).toEqual(['a, characters', 'b, characters']);
  expect(charts[0]?.series.map(({ name }) => name)).toEqual([
    'exact (1 seed)',
    'top-k 16 (1 seed)',
    'top-k 128 (1 seed)',
  ]);
});
