import { TopKError } from '@topk-attention/core';
import { below, rowRandom } from '../data/row-random.js';
import type { NeedleTask } from './settings.js';

/** Noise with a needle in it and a question at the end. */
export interface NeedleRow {
  /** Symbols are ids from 0 on; the three marks follow them. */
  readonly ids: Int32Array;
  /** The value that the last `valueTokens` places ask for, one token each. */
  readonly value: Int32Array;
  /** Where the needle stands: 0 at the beginning, 1 right before the question. */
  readonly depth: number;
}

/** Ids that begin a needle, stand between key and value, and begin the question. */
export function marksOf({ symbols }: NeedleTask): {
  readonly needle: number;
  readonly is: number;
  readonly question: number;
} {
  return { needle: symbols, is: symbols + 1, question: symbols + 2 };
}

/** Ids that occur. */
export function idsOf({ symbols }: NeedleTask): number {
  return symbols + 3;
}

/** Keeps the streams of rows apart, and from those of the arena's splits. */
const streams = { training: 16, validation: 17, test: 18 } as const;
export type NeedleSplit = keyof typeof streams;

/**
 * The row-th row of a split: noise of uniform symbols; one needle, `mark key is value`; and at the end the question,
 * `mark key is` and the value but for its last token. A causal model that predicts the value's tokens at the last places
 * sees none before it is asked for; if all are predicted, so are they when it reads its own predictions.
 *
 * @param tokens length of the row
 * @param depth where the needle stands, from 0 to 1; default: drawn
 * @throws TopKError INVALID_OPTION for rows too short for both
 */
export function needleRow(
  task: NeedleTask,
  tokens: number,
  { seed, split, row }: { readonly seed: number; readonly split: NeedleSplit; readonly row: number },
  depth?: number,
): NeedleRow {
  requireRoom(task, tokens);
  const { symbols, keyTokens, valueTokens } = task;
  const needle = keyTokens + valueTokens + 2;
  const room = tokens - (needle - 1);
  const random = rowRandom(seed, streams[split], row);
  const marks = marksOf(task);
  const drawn = depth ?? random();
  const start = Math.min(room - needle, Math.floor(drawn * (room - needle + 1)));
  const key = Int32Array.from({ length: keyTokens }, () => below(random, symbols));
  const value = Int32Array.from({ length: valueTokens }, () => below(random, symbols));
  const ids = new Int32Array(tokens);
  for (let at = 0; at < room; at++) ids[at] = below(random, symbols);
  ids.set([marks.needle, ...key, marks.is, ...value], start);
  ids.set([marks.question, ...key, marks.is, ...value.subarray(0, -1)], room);
  return { ids, value, depth: room === needle ? 0 : start / (room - needle) };
}

/** Rows of a test: their depths lie one in each of as many equal parts, in a random place there. */
export function testRow(
  task: NeedleTask,
  tokens: number,
  seed: number,
  row: number,
  rows: number,
): NeedleRow {
  const within = rowRandom(seed, streams.test + 1, row)();
  return needleRow(task, tokens, { seed, split: 'test', row }, (row + within) / rows);
}

/** @throws TopKError INVALID_OPTION for rows too short for a needle and a question */
export function requireRoom({ keyTokens, valueTokens }: NeedleTask, tokens: number): void {
  const least = 2 * (keyTokens + valueTokens + 2) - 1;
  if (tokens >= least) return;
  throw new TopKError('INVALID_OPTION', 'needles: no room in a row', {
    expected: `at least ${least} tokens, for a needle and a question`,
    got: String(tokens),
  });
}
