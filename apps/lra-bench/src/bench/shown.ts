import {
  formatDuration,
  formatMebibytes,
  type LineChart,
  type Series,
  type Table,
} from '@topk-attention/app-kit';
import { comparisonTable } from './comparison.js';
import { paperPoints } from './published.js';
import type { BenchResult, BenchRow, Direction } from './result.js';
import { wayNames } from './result.js';
import { studies } from './studies.js';

const GIBIBYTE = 2 ** 30;

/** Time and memory of a study in each direction, with the paper's curves dashed. */
export function studyCharts({ study, title, rows }: BenchResult): readonly LineChart[] {
  const varies = variesOf(study);
  const ways = waysOf(rows);
  return directionsOf(rows).flatMap((direction) => {
    const own = rows.filter((row) => row.direction === direction);
    const paper = study === 'mechanisms' ? [] : paperPoints(study, direction);
    const charts: {
      what: string;
      y: string;
      of: (row: BenchRow) => number | undefined;
      paper: 'seconds' | 'gibibytes';
    }[] = [
      {
        what: 'time',
        y: 'seconds',
        of: ({ milliseconds }) => milliseconds && milliseconds / 1000,
        paper: 'seconds',
      },
      {
        what: 'memory',
        y: 'GiB',
        of: ({ peakBytes }) => peakBytes && peakBytes / GIBIBYTE,
        paper: 'gibibytes',
      },
    ];
    return charts.map(({ what, y, of, paper: key }): LineChart => {
      const series = ways.flatMap((way): Series[] => {
        const points = own.flatMap((row) => {
          const value = of(row);
          return row.way === way && value !== undefined && value > 0 ? [{ x: row.x, y: value }] : [];
        });
        const theirs = paper
          .filter((point) => point.way === way)
          .map((point) => ({ x: point.x, y: point[key] }));
        return [
          { name: way, className: classOf(way), points },
          { name: `${way}, paper (another GPU)`, className: classOf(way), isDashed: true, points: theirs },
        ];
      });
      return {
        title: `${title}: ${what}, ${direction}`,
        x: { title: varies, isLog: true },
        y: { title: y, isLog: true },
        series: study === 'mechanisms' ? [...series].sort(byEnd) : series,
      };
    });
  });
}

/** From the top at the right end of a chart: in a legend of many lines that is where to look. Longer lines come first. */
export function byEnd(a: Series, b: Series): number {
  const [endA, endB] = [a.points.at(-1), b.points.at(-1)];
  return (endB?.x ?? 0) - (endA?.x ?? 0) || (endB?.y ?? 0) - (endA?.y ?? 0);
}

/** A row per size and direction, time and peak of each way. */
export function studyTable(result: BenchResult): Table {
  const { study, rows } = result;
  if (study === 'mechanisms') return comparisonTable(result);
  const ways = waysOf(rows);
  const sizes = [...new Set(rows.map(({ x }) => x))].sort((a, b) => a - b);
  return {
    columns: [
      { title: variesOf(study), align: 'right', isHeading: true },
      { title: 'pass' },
      ...ways.flatMap((way) => [
        { title: way, align: 'right' as const },
        { title: 'MiB', align: 'right' as const },
      ]),
    ],
    rows: directionsOf(rows).flatMap((direction) =>
      sizes.map((x) => [
        x.toLocaleString('en-US'),
        direction,
        ...ways.flatMap((way) => cells(rows, way, x, direction)),
      ]),
    ),
  };
}

function cells(rows: readonly BenchRow[], way: string, x: number, direction: Direction): readonly string[] {
  const row = rows.find((one) => one.way === way && one.x === x && one.direction === direction);
  if (row === undefined) return ['', ''];
  if (row.milliseconds === undefined) return ['does not fit', ''];
  return [
    formatDuration(row.milliseconds),
    row.peakBytes === undefined ? '' : formatMebibytes(row.peakBytes),
  ];
}

function directionsOf(rows: readonly BenchRow[]): readonly Direction[] {
  return (['forward', 'forward + backward'] as const).filter((direction) =>
    rows.some((row) => row.direction === direction),
  );
}

function variesOf(study: BenchResult['study']): string {
  return study === 'mechanisms' ? 'length' : studies[study].varies;
}

/** The paper's ways in its order, then others in theirs. */
function waysOf(rows: readonly BenchRow[]): readonly string[] {
  const all = [...new Set(rows.map(({ way }) => way))];
  const known: readonly string[] = wayNames;
  return [...known.filter((way) => all.includes(way)), ...all.filter((way) => !known.includes(way))];
}

/** Of its colour: a mechanism's name without its numbers. */
export function classOf(way: string): string {
  return way.replace(/[ ,].*$/, '');
}
