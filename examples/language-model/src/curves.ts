import type { LineChart, LinePoint } from '@topk-attention/app-kit';
import type { LogEntry } from '@topk-attention/nn';
import type { ModelOptions } from './model.js';
import type { RunConfig } from './run-folder.js';

/** What a chart needs of a run. */
export interface CurveRun {
  readonly config: Pick<RunConfig, 'name' | 'tokens' | 'training'> & {
    readonly model: Pick<ModelOptions, 'mechanism' | 'k' | 'features'>;
  };
  readonly metrics: readonly LogEntry[];
}

/** A mechanism with what tells its runs apart. */
function mechanismTitle({ mechanism, k }: CurveRun['config']['model']): string {
  return mechanism === 'top-k' ? `top-k ${k}` : mechanism;
}

/**
 * A chart for each text, a line for each mechanism: the mean of its runs' test losses, in a band from the lowest to
 * the highest. A line has the steps that all of its runs have reached.
 */
export function curveCharts(runs: readonly CurveRun[]): readonly LineChart[] {
  return [...grouped(runs, ({ config }) => `${config.name}, ${config.tokens}`)].map(([title, ofText]) => {
    const series = [...grouped(ofText, ({ config }) => mechanismTitle(config.model))]
      .sort(([a], [b]) => new Intl.Collator('en', { numeric: true }).compare(a, b))
      .map(([name, same]) => ({
        name: `${name} (${same.length} ${same.length === 1 ? 'seed' : 'seeds'})`,
        points: pointsOf(same),
      }));
    const warm = Math.max(...ofText.map(({ config }) => config.training.steps)) / 8;
    // Losses fall far in the first steps, where all lines are one.
    const most = Math.max(
      ...series.flatMap(({ points }) => points.filter(({ x }) => x >= warm).map(({ high }) => high)),
    );
    return {
      ...{ title, series, x: { title: 'steps' } },
      y: { title: 'test loss', ...(Number.isFinite(most) && { most }) },
    };
  });
}

function pointsOf(runs: readonly CurveRun[]): readonly Required<LinePoint>[] {
  const losses = new Map<number, number[]>();
  for (const { metrics } of runs) {
    for (const { step, eval_loss: loss } of metrics) {
      if (loss !== undefined) losses.set(step, [...(losses.get(step) ?? []), loss]);
    }
  }
  return [...losses]
    .filter(([, all]) => all.length === runs.length)
    .sort(([a], [b]) => a - b)
    .map(([x, all]) => ({
      x,
      y: all.reduce((sum, one) => sum + one, 0) / all.length,
      low: Math.min(...all),
      high: Math.max(...all),
    }));
}

function grouped<T>(all: readonly T[], keyOf: (one: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const one of all) groups.set(keyOf(one), [...(groups.get(keyOf(one)) ?? []), one]);
  return groups;
}
