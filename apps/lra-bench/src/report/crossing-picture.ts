import { spanChartFile } from '@topk-attention/app-kit';
import { crossingCharts } from '../bench/crossing-charts.js';
import type { BenchResult } from '../bench/result.js';

/** Where mechanisms cross exact and top-k attention, as one SVG file; undefined where none were measured by length. */
export function crossingPicture(benches: readonly BenchResult[]): string | undefined {
  const charts = benches.flatMap(crossingCharts);
  if (charts.length === 0) return undefined;
  // A file colours lanes by their place, so that exact and top-k attention look as in the other picture.
  const placed = charts.map((chart) => ({ ...chart, lanes: chart.lanes.map(({ name }) => ({ name })) }));
  return spanChartFile('Where mechanisms take less than exact and top-k attention', placed);
}
