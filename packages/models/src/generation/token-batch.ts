import {
  anArray,
  type Backend,
  describeValue,
  scope,
  type Tensor,
  TopKError,
  tensor,
} from '@topk-attention/core';

/** What a batch needs to know about a vocabulary. */
export interface Vocabulary {
  readonly vocabSize: number;
  readonly padId: number;
}

/** Token ids on a backend, right-padded to one length. */
export interface TokenBatch {
  /** i32 [B, L] */
  readonly ids: Tensor;
  /** i32 [B]; absent where nothing is padded. */
  readonly keyLengths: Tensor | undefined;
}

/** Uploads rows of token ids, padded to `length`. `lengths`: valid tokens of rows that are already padded. */
export function tokenBatch(
  backend: Backend,
  { padId }: Vocabulary,
  rows: readonly (readonly number[])[],
  length: number,
  lengths: readonly number[] = rows.map((row) => row.length),
): TokenBatch {
  const ids = new Int32Array(rows.length * length).fill(padId);
  for (const [row, source] of rows.entries()) ids.set(source, row * length);
  const isPadded = lengths.some((own) => own !== length);
  return scope(() => ({
    ids: tensor(backend, ids, [rows.length, length], 'i32'),
    keyLengths: isPadded ? tensor(backend, Int32Array.from(lengths), [rows.length], 'i32') : undefined,
  }));
}

/** @throws TopKError EMPTY_SEQUENCE, INVALID_OPTION for anything but lists of ids of the vocabulary. */
export function checkIds(
  where: string,
  { vocabSize }: Vocabulary,
  rows: readonly (readonly number[])[],
): void {
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
    // By index, because the bad entry may be undefined.
    const at = row.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabSize);
    if (at === -1) continue;
    throw new TopKError('INVALID_OPTION', `${where}: not a token id`, {
      expected: `whole numbers from 0 to ${vocabSize - 1}`,
      got: `${describeValue(row[at])} at ${at}`,
      fix: 'Use the tokenizer that belongs to the model',
    });
  }
}

/** Typed arrays of ids are lists too. */
const isList = anArray().is;

function notLists(where: string, got: unknown): TopKError {
  return new TopKError('INVALID_OPTION', `${where}: not a valid source`, {
    expected: 'text, or a list of token ids; lists of them for a batch',
    got: describeValue(got),
  });
}

/**
 * The common length of all rows.
 *
 * @throws TopKError SHAPE_MISMATCH for rows or `lengths` that do not fit, and as `checkIds`.
 */
export function checkRectangle(
  where: string,
  vocabulary: Vocabulary,
  rows: readonly (readonly number[])[],
  lengths?: readonly number[],
): number {
  checkIds(where, vocabulary, rows);
  const length = (rows[0] as readonly number[]).length;
  const ragged = rows.find((row) => row.length !== length);
  if (ragged !== undefined) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: rows of different lengths`, {
      expected: `${length} tokens`,
      got: String(ragged.length),
      fix: `Pad on the right with ${vocabulary.padId} and pass sourceLengths`,
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
