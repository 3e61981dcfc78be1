import { anArray, type Backend, describeValue, type Tensor, TopKError, tensor } from '@topk-attention/core';
import type { T5Config } from './config.js';

/** Source token ids on a backend, right-padded to one length. */
export interface SourceBatch {
  /** i32 [B, L] */
  readonly ids: Tensor;
  /** i32 [B]; absent where nothing is padded. */
  readonly keyLengths: Tensor | undefined;
  readonly lengths: readonly number[];
  /** L */
  readonly length: number;
}

/** Checks and uploads rows of token ids. `lengths`: valid tokens of rows that are padded already. */
export function sourceBatch(
  backend: Backend,
  config: T5Config,
  rows: readonly (readonly number[])[],
  length: number,
  lengths: readonly number[] = rows.map((row) => row.length),
): SourceBatch {
  const ids = new Int32Array(rows.length * length).fill(config.padId);
  for (const [row, source] of rows.entries()) ids.set(source, row * length);
  const isPadded = lengths.some((own) => own !== length);
  return {
    ids: tensor(backend, ids, [rows.length, length], 'i32'),
    keyLengths: isPadded ? tensor(backend, Int32Array.from(lengths), [rows.length], 'i32') : undefined,
    lengths,
    length,
  };
}

export function disposeSource({ ids, keyLengths }: SourceBatch): void {
  ids.dispose();
  keyLengths?.dispose();
}

/** @throws TopKError EMPTY_SEQUENCE, INVALID_OPTION for what is no list of ids of the vocabulary. */
export function checkIds(where: string, config: T5Config, rows: readonly (readonly number[])[]): void {
  if (!isList(rows)) throw notLists(where, rows);
  if (rows.length === 0) {
    throw new TopKError('EMPTY_SEQUENCE', `${where}: no source`, { expected: 'at least one', got: '0' });
  }
  for (const row of rows) {
    if (!isList(row)) throw notLists(where, row);
    if (row.length === 0) {
      throw new TopKError('EMPTY_SEQUENCE', `${where}: empty source`, {
        expected: 'at least one token',
        got: '0',
      });
    }
    // By index: the wrong one may be undefined.
    const at = row.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= config.vocabSize);
    if (at === -1) continue;
    throw new TopKError('INVALID_OPTION', `${where}: not a token id`, {
      expected: `whole numbers from 0 to ${config.vocabSize - 1}`,
      got: `${describeValue(row[at])} at ${at}`,
      fix: 'Use the tokenizer that belongs to the model',
    });
  }
}

/** Typed arrays of ids are lists too. */
const isList = anArray().is;

function notLists(where: string, got: unknown): TopKError {
  return new TopKError('INVALID_OPTION', `${where}: not a source`, {
    expected: 'text, or a list of token ids; lists of them for a batch',
    got: describeValue(got),
  });
}

/** Rows of one length, with the valid tokens of each. @throws TopKError SHAPE_MISMATCH, and what `checkIds` throws. */
export function checkRectangle(
  where: string,
  config: T5Config,
  rows: readonly (readonly number[])[],
  lengths?: readonly number[],
): number {
  checkIds(where, config, rows);
  const length = (rows[0] as readonly number[]).length;
  const ragged = rows.find((row) => row.length !== length);
  if (ragged !== undefined) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: rows of different lengths`, {
      expected: `${length} tokens`,
      got: String(ragged.length),
      fix: `Pad on the right with ${config.padId} and pass sourceLengths`,
    });
  }
  const fits =
    lengths === undefined ||
    (lengths.length === rows.length &&
      lengths.every((own) => Number.isInteger(own) && own > 0 && own <= length));
  if (fits) return length;
  throw new TopKError('SHAPE_MISMATCH', `${where}: bad sourceLengths`, {
    expected: `${rows.length} numbers from 1 to ${length}`,
    got: `[${Array.from(lengths, describeValue).join(', ')}]`,
  });
}

/**
 * The length that a source is padded to where an engine compiles by shape: at most an eighth longer and by less than 64 tokens, so
 * that questions of any length share a few compiled graphs and a long text does not pay for it.
 */
export function sharedLength(length: number): number {
  const step = Math.min(64, Math.max(8, 2 ** (Math.ceil(Math.log2(length)) - 4)));
  return Math.ceil(length / step) * step;
}
