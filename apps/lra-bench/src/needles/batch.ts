import { type NeedleRow, needleRow } from './rows.js';
import type { NeedleConfiguration, NeedleTraining } from './settings.js';

/** Rows of one length as plain arrays. */
export interface NeedleBatch {
  readonly rows: number;
  readonly tokens: number;
  /** [rows * tokens] */
  readonly ids: Int32Array;
  /** [rows * valueTokens] */
  readonly values: Int32Array;
}

/** Rows at most per step: a step's first row is its number times this. */
const MOST_ROWS = 1024;

/**
 * Length of the rows of a step, counted from 0: it doubles from the first to the last one in equal parts of the first half
 * of the run, and the second half is of the last.
 */
export function tokensAt({ firstTokens, tokens, steps }: NeedleTraining, step: number): number {
  const doublings = Math.ceil(Math.log2(tokens / firstTokens));
  const done = Math.floor((2 * doublings * step) / steps);
  return Math.min(tokens, firstTokens * 2 ** done);
}

/** The batch of a step: as many rows as its tokens allow. */
export function trainingBatch({ task, training, seed }: NeedleConfiguration, step: number): NeedleBatch {
  const tokens = tokensAt(training, step);
  const rows = Math.min(MOST_ROWS, Math.max(1, Math.floor(training.stepTokens / tokens)));
  return batched(
    Array.from({ length: rows }, (_, at) =>
      needleRow(task, tokens, { seed, split: 'training', row: step * MOST_ROWS + at }),
    ),
  );
}

/** The rows that are looked at during training, in batches as large as its steps. */
export function* validationBatches({ task, training, seed }: NeedleConfiguration): Generator<NeedleBatch> {
  const { tokens, stepTokens, validationRows } = training;
  const each = Math.max(1, Math.floor(stepTokens / tokens));
  for (let from = 0; from < validationRows; from += each) {
    yield batched(
      Array.from({ length: Math.min(each, validationRows - from) }, (_, at) =>
        needleRow(task, tokens, { seed, split: 'validation', row: from + at }),
      ),
    );
  }
}

/** Rows of one length, one after the other. */
export function batched(rows: readonly NeedleRow[]): NeedleBatch {
  const tokens = rows[0]?.ids.length ?? 0;
  const ids = new Int32Array(rows.length * tokens);
  for (const [at, row] of rows.entries()) ids.set(row.ids, at * tokens);
  return { rows: rows.length, tokens, ids, values: Int32Array.from(rows.flatMap(({ value }) => [...value])) };
}
