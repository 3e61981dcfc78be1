import { LINE_STYLES, type LineChart, lineChartFile } from '@topk-attention/app-kit';
import type { BenchResult } from '../bench/result.js';
import { byEnd, studyCharts } from '../bench/shown.js';
import { mechanismNames } from '../model/settings.js';
import type { NeedleRun, Section } from './collect.js';
import { learningChart } from './learning-chart.js';
import { needleCharts } from './needles.js';
import { sectionTitle } from './tables.js';

/** What a report draws over steps and lengths, as one SVG file; undefined where there is nothing to draw. */
export function reportPicture({
  sections,
  needles,
  benches,
}: {
  readonly sections: readonly Section[];
  readonly needles: readonly NeedleRun[];
  readonly benches: readonly BenchResult[];
}): string | undefined {
  const charts = [
    ...sections.map((section): LineChart => ({ ...learningChart(section), title: sectionTitle(section) })),
    ...needles.flatMap((run) => needleCharts(run).slice(0, 2)),
    // The other studies draw the paper's curves too: they are on the page.
    ...benches.filter(({ study }) => study === 'mechanisms').flatMap(studyCharts),
  ].filter((chart) => chart.series.some(({ points }) => points.length > 0));
  if (charts.length === 0) return undefined;
  const lines = charts.flatMap(({ series }) => series);
  const drawn: readonly (string | undefined)[] = mechanismNames.filter((name) =>
    lines.some(({ className }) => className === name),
  );
  const colourOf = (name: string | undefined): string => `series-${1 + (drawn.indexOf(name) % LINE_STYLES)}`;
  return lineChartFile(
    sections.length + needles.length > 0
      ? 'What models learn with each attention'
      : 'What each attention takes by length',
    charts.map((chart) => ({
      ...chart,
      series: [...chart.series].sort(byEnd).map((line) => ({ ...line, className: colourOf(line.className) })),
    })),
  );
}
