import { LINE_STYLES, type LineChart, lineChartFile, type Series } from '@topk-attention/app-kit';
import { mechanismNames } from '../model/settings.js';
import type { NeedleRun, Section } from './collect.js';
import { learningChart } from './learning-chart.js';
import { needleCharts } from './needles.js';
import { sectionTitle } from './tables.js';

/** What a report draws over steps and lengths, as one SVG file; undefined where there is nothing to draw. */
export function reportPicture({
  sections,
  needles,
}: {
  readonly sections: readonly Section[];
  readonly needles: readonly NeedleRun[];
}): string | undefined {
  const charts = [
    ...sections.map((section): LineChart => ({ ...learningChart(section), title: sectionTitle(section) })),
    ...needles.flatMap((run) => needleCharts(run).slice(0, 2)),
  ].filter((chart) => chart.series.some(({ points }) => points.length > 0));
  if (charts.length === 0) return undefined;
  const lines = charts.flatMap(({ series }) => series);
  const drawn: readonly (string | undefined)[] = mechanismNames.filter((name) =>
    lines.some(({ className }) => className === name),
  );
  const colourOf = (name: string | undefined): string => `series-${1 + (drawn.indexOf(name) % LINE_STYLES)}`;
  return lineChartFile(
    'What models learn with each attention',
    charts.map((chart) => ({
      ...chart,
      series: byEnd(chart.series).map((line) => ({ ...line, className: colourOf(line.className) })),
    })),
  );
}

/** The highest end first, as they lie beside the legend. */
function byEnd(series: readonly Series[]): readonly Series[] {
  const endOf = ({ points }: Series): number => points.at(-1)?.y ?? Number.NEGATIVE_INFINITY;
  return [...series].sort((a, b) => endOf(b) - endOf(a));
}
