import { TopKError } from '@topk-attention/core';
import type { Rows } from '../data/rows.js';
import { streamed } from '../evaluation/looks.js';
import { visibleTokens } from '../model/batches.js';
import { type Cut, runsOf } from '../model/parts.js';
import type { ModelSettings } from '../model/settings.js';

/** Batches that are drawn to see how long parts are. */
const DRAWN = 1000;
/** The share of them that need no more: a rare long one would pad all others. */
const SHARE = 0.99;
/** Lengths are multiples of it. */
const STEP = 64;

/** What the parts of a batch are padded to, shortest first. */
export interface TrimmedLengths {
  readonly batch: number;
  /** Rows of a part. */
  readonly size: number;
  readonly tokens: readonly number[];
  /** What every part is padded to where one does not fit. */
  readonly most: number;
}

/**
 * Lengths for the parts of batches whose rows stand in the order of their lengths, such that 99 of 100 batches drawn of the
 * training rows fit each: a recorded step has to have the same shapes every time. They depend on the rows, the batch
 * and the part alone.
 *
 * @throws TopKError INVALID_OPTION for a model whose output depends on the padding
 */
export function trimmedLengths(
  rows: Rows,
  settings: ModelSettings,
  batch: number,
  size: number,
): TrimmedLengths {
  const { pooling, tokens: most } = settings;
  if (pooling === 'all') {
    throw new TopKError('INVALID_OPTION', '--trim does not fit', {
      expected: 'a model that gives padding no weight',
      got: 'the mean of all tokens, padding too',
      fix: 'Leave it out, or choose another --pooling or preset',
    });
  }
  const lengths = lengthsOf(rows, settings);
  const drawn = streamed(rows.length, batch, DRAWN, 1, 0).map((indices) =>
    runsOf(byLength(indices, lengths), size).map((part) => longest(part, lengths)),
  );
  const tokens = Array.from({ length: Math.ceil(batch / size) }, (_, at) => {
    const sorted = drawn.map((parts) => parts[at] as number).sort((a, b) => a - b);
    const enough = sorted[Math.ceil(SHARE * (sorted.length - 1))] as number;
    return Math.min(most, STEP * Math.ceil(enough / STEP));
  });
  return { batch, size, tokens, most };
}

/** Cuts batches of some rows into parts of documents of similar length. */
export function trimmedCut(
  rows: Rows,
  settings: ModelSettings,
  { batch, size, tokens, most }: TrimmedLengths,
): Cut {
  const lengths = lengthsOf(rows, settings);
  return (given) => {
    const parts = runsOf(byLength(given, lengths), size);
    const isUsual =
      given.length === batch && parts.every((part, at) => longest(part, lengths) <= (tokens[at] as number));
    return parts.map((indices, at) => ({ indices, tokens: isUsual ? (tokens[at] as number) : most }));
  };
}

/** Of each row the tokens of its longest document that count, at least 1. */
function lengthsOf(rows: Rows, settings: ModelSettings): Int32Array {
  const parts = Array.from({ length: rows.parts }, (_, part) => part);
  return Int32Array.from({ length: rows.length }, (_, row) =>
    Math.max(1, ...parts.map((part) => visibleTokens(rows.document(row, part), settings))),
  );
}

/** Shortest first; equal ones in their order. */
function byLength(indices: readonly number[], lengths: Int32Array): readonly number[] {
  return [...indices].sort((a, b) => (lengths[a] as number) - (lengths[b] as number));
}

/** Of a part in that order. */
function longest(part: readonly number[], lengths: Int32Array): number {
  return lengths[part.at(-1) as number] as number;
}
