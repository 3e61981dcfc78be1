import { formatCount } from '@topk-attention/app-kit';
import type { BenchResult, BenchRow } from './result.js';

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Where one line goes below another, or above it. */
interface Crossing {
  /** The measured lengths on both sides. */
  readonly from: number;
  readonly to: number;
  /** Between them, where the two would meet if both were straight in logarithms. */
  readonly near: number;
  readonly isBelowAfter: boolean;
}

/** How one line stands to another. */
interface Compared {
  /** At the shortest length of both. */
  readonly isBelow: boolean;
  /** The lengths of both. */
  readonly shared: readonly number[];
  readonly crossings: readonly Crossing[];
}

/** Compares two lines at the lengths that both have; undefined if there are none. Nothing is said of other lengths. */
export function crossingsOf(own: readonly Point[], other: readonly Point[]): Compared | undefined {
  const ratios = own
    .flatMap(({ x, y }) => {
      const theirs = other.find((point) => point.x === x);
      return theirs === undefined ? [] : [{ x, ratio: Math.log(y / theirs.y) }];
    })
    .sort((a, b) => a.x - b.x);
  const [first] = ratios;
  if (first === undefined) return undefined;
  const crossings = ratios.slice(1).flatMap((after, at): Crossing[] => {
    const before = ratios[at] as typeof after;
    if (before.ratio < 0 === after.ratio < 0) return [];
    const share = before.ratio / (before.ratio - after.ratio);
    const near = Math.exp(Math.log(before.x) + share * (Math.log(after.x) - Math.log(before.x)));
    return [{ from: before.x, to: after.x, near, isBelowAfter: after.ratio < 0 }];
  });
  return { isBelow: first.ratio < 0, shared: ratios.map(({ x }) => x), crossings };
}

const measures: readonly { readonly what: string; readonly of: (row: BenchRow) => number | undefined }[] = [
  { what: 'time', of: ({ milliseconds }) => milliseconds },
  { what: 'memory', of: ({ peakBytes }) => peakBytes },
];

/** Of every way, in words: at which lengths it takes less time and memory than exact and than top-k attention. */
export function crossingTexts({ rows }: Pick<BenchResult, 'rows'>): readonly string[] {
  const ways = [...new Set(rows.map(({ way }) => way))];
  const references = ways.filter((way) => way === 'exact' || way.startsWith('top-k '));
  return ways
    .filter((way) => way !== 'exact')
    .flatMap((way) => {
      const said = references
        .filter((reference) => reference !== way)
        .flatMap((reference) =>
          measures.flatMap(({ what, of }) => {
            const found = crossingsOf(lineOf(rows, way, of), lineOf(rows, reference, of));
            return found === undefined ? [] : [inWords(found, `${what} than ${reference}`)];
          }),
        );
      return said.length === 0 ? [] : [`${way}: ${said.join('; ')}.`];
    });
}

function lineOf(
  rows: readonly BenchRow[],
  way: string,
  of: (row: BenchRow) => number | undefined,
): readonly Point[] {
  return rows.flatMap((row) => {
    const y = of(row);
    return row.way === way && y !== undefined && y > 0 ? [{ x: row.x, y }] : [];
  });
}

/** `more time than exact up to about 2,900 (measured at 1,024 and 4,096), less from there on`. */
function inWords({ isBelow, shared, crossings }: Compared, than: string): string {
  const first = isBelow ? 'less' : 'more';
  const [shortest, longest] = [shared[0], shared.at(-1)].map((x) => formatCount(x as number));
  if (shared.length === 1) return `${first} ${than} at ${shortest}, the only length of both`;
  if (crossings.length === 0) return `${first} ${than} from ${shortest} to ${longest}`;
  const turns = crossings.map(
    ({ from, to, near, isBelowAfter }) =>
      ` up to about ${formatCount(Number(near.toPrecision(2)))} (measured at ${formatCount(from)} and ${formatCount(to)}), then ${isBelowAfter ? 'less' : 'more'}`,
  );
  return `${first} ${than}${turns.join('')}`;
}
