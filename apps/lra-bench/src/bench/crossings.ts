import { formatCount } from '@topk-attention/app-kit';
import type { BenchResult, BenchRow } from './result.js';

interface Point {
  readonly x: number;
  readonly y: number;
}

/** Where one line goes below another, or above it. */
export interface Crossing {
  /** The measured lengths on both sides. */
  readonly from: number;
  readonly to: number;
  /** Between them, where the two would meet if both were straight in logarithms. */
  readonly near: number;
  readonly isBelowAfter: boolean;
}

/** How one line stands to another. */
export interface Compared {
  /** At the shortest length of both; undefined if they are equal everywhere. */
  readonly isBelow: boolean | undefined;
  /** The lengths of both. */
  readonly shared: readonly number[];
  readonly crossings: readonly Crossing[];
}

/** Less than this share of a value is no difference. */
const EQUAL = 0.005;

/**
 * Compares two lines at the lengths that both have; undefined if there are none. Nothing is said of other lengths. Where
 * they are equal, they stand as before, at first as after it: lines that only touch do not cross.
 */
export function crossingsOf(own: readonly Point[], other: readonly Point[]): Compared | undefined {
  const ratios = own
    .flatMap(({ x, y }) => {
      const theirs = other.find((point) => point.x === x);
      return theirs === undefined ? [] : [{ x, ratio: Math.log(y / theirs.y) }];
    })
    .sort((a, b) => a.x - b.x);
  if (ratios.length === 0) return undefined;
  const different = ratios.find(({ ratio }) => Math.abs(ratio) >= EQUAL);
  const isBelow = different === undefined ? undefined : different.ratio < 0;
  let wasBelow = isBelow;
  const crossings = ratios.flatMap(({ x, ratio }, at): Crossing[] => {
    const isBelowAfter = Math.abs(ratio) < EQUAL ? wasBelow : ratio < 0;
    if (isBelowAfter === wasBelow || isBelowAfter === undefined) return [];
    wasBelow = isBelowAfter;
    const before = ratios[at - 1] as (typeof ratios)[number];
    // A touch before it may be on the side that comes after.
    const share = Math.max(0, before.ratio / (before.ratio - ratio));
    const near = share === 0 ? before.x : Math.exp(Math.log(before.x) + share * Math.log(x / before.x));
    return [{ from: before.x, to: x, near, isBelowAfter }];
  });
  return { isBelow, shared: ratios.map(({ x }) => x), crossings };
}

/** What is compared: the rows' time, and their memory. */
export interface Measure {
  readonly what: 'time' | 'memory';
  readonly of: (row: BenchRow) => number | undefined;
}

export const measures: readonly Measure[] = [
  { what: 'time', of: ({ milliseconds }) => milliseconds },
  { what: 'memory', of: ({ peakBytes }) => peakBytes },
];

/** The ways that are compared, exact attention aside, and those that they are compared with: exact and top-k. */
export function sidesOf(rows: readonly BenchRow[]): {
  readonly ways: readonly string[];
  readonly references: readonly string[];
} {
  const all = [...new Set(rows.map(({ way }) => way))];
  return {
    ways: all.filter((way) => way !== 'exact'),
    references: all.filter((way) => way === 'exact' || way.startsWith('top-k ')),
  };
}

/** How a way stands to a reference; undefined if they have no length in common, or are the same. */
export function comparedWith(
  rows: readonly BenchRow[],
  way: string,
  reference: string,
  { of }: Measure,
): Compared | undefined {
  return way === reference ? undefined : crossingsOf(lineOf(rows, way, of), lineOf(rows, reference, of));
}

/** Of every way, in words: at which lengths it takes less time and memory than exact and than top-k attention. */
export function crossingTexts({ rows }: Pick<BenchResult, 'rows'>): readonly string[] {
  const { ways, references } = sidesOf(rows);
  return ways.flatMap((way) => {
    const said = references.flatMap((reference) =>
      measures.flatMap((measure) => {
        const found = comparedWith(rows, way, reference, measure);
        return found === undefined ? [] : [inWords(found, measure.what, reference)];
      }),
    );
    return said.length === 0 ? [] : [`${way}: ${said.join('; ')}.`];
  });
}

/** An estimate between two measured lengths, in two digits: 2,900. */
export function nearText({ from, to, near }: Crossing): string {
  const rounded = Number(near.toPrecision(2));
  return formatCount(Math.min(to, Math.max(from, rounded)));
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

/** `more time than exact up to about 2,900 (measured at 1,024 and 4,096), then less`. */
function inWords({ isBelow, shared, crossings }: Compared, what: string, other: string): string {
  const than = `${what} ${isBelow === undefined ? 'as' : 'than'} ${other}`;
  const first = isBelow === undefined ? 'as much' : isBelow ? 'less' : 'more';
  const [shortest, longest] = [shared[0], shared.at(-1)].map((x) => formatCount(x as number));
  if (shared.length === 1) return `${first} ${than} at ${shortest}, the only length of both`;
  if (crossings.length === 0) return `${first} ${than} from ${shortest} to ${longest}`;
  const turns = crossings.map(
    (crossing) =>
      ` up to about ${nearText(crossing)} (measured at ${formatCount(crossing.from)} and ${formatCount(crossing.to)}), then ${crossing.isBelowAfter ? 'less' : 'more'}`,
  );
  return `${first} ${than}${turns.join('')}`;
}
