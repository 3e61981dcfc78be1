import type { Span, SpanChart, SpanLane, SpanRow } from '@topk-attention/app-kit';
import { type Compared, comparedWith, type Measure, measures, nearText, sidesOf } from './crossings.js';
import type { BenchResult } from './result.js';
import { classOf } from './shown.js';

/**
 * The lengths at which each mechanism takes less than exact and than top-k attention: a chart of time and one of
 * memory, of what was measured. Of a single length there is none.
 *
 * On top are those that take less than exact attention over the most of the axis, so that they cross first; among
 * equals those that take less than top-k attention over more of it, then in the order of the rows.
 */
export function crossingCharts({ study, title, rows }: BenchResult): readonly SpanChart[] {
  if (study !== 'mechanisms') return [];
  const { ways, references } = sidesOf(rows);
  return measures.flatMap((measure): SpanChart[] => {
    const ticks = lengthsOf(rows, measure);
    const compared = ways
      .map((way): SpanRow => {
        const lanes = references.map((reference) => comparedWith(rows, way, reference, measure));
        return { name: way, lanes: lanes.map((found) => found && laneOf(found)) };
      })
      .filter(({ lanes }) => lanes.some((lane) => lane !== undefined));
    if (ticks.length < 2 || compared.length === 0) return [];
    const { what } = measure;
    return [
      {
        ...{ title: `${title}: where each takes less ${what}`, xTitle: 'length', ticks },
        lanes: references.map((name) => ({ name: `less ${what} than ${name}`, className: classOf(name) })),
        rest: 'not less',
        rows: compared.sort(byReach),
      },
    ];
  });
}

function lengthsOf(rows: BenchResult['rows'], { of }: Measure): readonly number[] {
  const measured = rows.filter((row) => (of(row) ?? 0) > 0);
  return [...new Set(measured.map(({ x }) => x))].sort((a, b) => a - b);
}

/** Bars between the crossings. They run on to the ends of what was measured of both. */
function laneOf({ isBelow, shared, crossings }: Compared): SpanLane {
  const [first, last] = [shared[0], shared.at(-1)] as [number, number];
  const turns = [first, ...crossings.map(({ near }) => near), last];
  const spans = turns.slice(1).flatMap((to, at): Span[] => {
    const isLess = at === 0 ? isBelow : crossings[at - 1]?.isBelowAfter;
    return isLess === true ? [{ from: turns[at] as number, to }] : [];
  });
  const marks = crossings.map((crossing) => ({ at: crossing.near, text: nearText(crossing) }));
  return { known: { from: first, to: last }, spans, marks };
}

function byReach(a: SpanRow, b: SpanRow): number {
  const longer = a.lanes.map((lane, at) => reachOf(b.lanes[at]) - reachOf(lane));
  // Sums of the same logarithms in another order are not quite the same.
  return longer.find((difference) => Math.abs(difference) > 1e-9) ?? 0;
}

/** Of the axis, which is logarithmic. */
function reachOf(lane: SpanLane | undefined): number {
  return (lane?.spans ?? []).reduce((sum, { from, to }) => sum + Math.log(to / from), 0);
}
