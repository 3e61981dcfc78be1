import { type LineChart, lineChartFile } from '@topk-attention/app-kit';
import type { NeedleRun, Section } from './collect.js';
import { learningChart } from './learning-chart.js';
import { needleCharts } from './needles.js';
import { sectionTitle } from './tables.js';

/** Colours of a file, by what a line shows. */
const series = ['exact', 'top-k', 'performer', 'performer-relu'];

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
  return lineChartFile(
    'What models learn with exact, top-k and Performer attention',
    charts.map((chart) => ({
      ...chart,
      series: chart.series.map((line) => ({
        ...line,
        className: `series-${1 + Math.max(0, series.indexOf(line.className ?? ''))}`,
      })),
    })),
  );
}
