import {
  anArray,
  type Backend,
  describeValue,
  scope,
  type Tensor,
  TopKError,
  tensor,
} from '@topk-attention/core';
import { checkRectangle } from '../generation/token-batch.js';
import type { EncoderConfig } from './config.js';

/** Token ids of a forward pass. Rows have equal lengths: pad on the right. */
export interface EncoderInputs {
  readonly sources: readonly (readonly number[])[];
  /** Valid tokens of each source. Default: all. */
  readonly sourceLengths?: readonly number[];
  /** The type (segment) of each token, for families that have them. Default: 0. */
  readonly types?: readonly (readonly number[])[];
}

/** Token ids on a backend, and where they stand. */
export interface EncoderBatch {
  /** i32 [B, L] */
  readonly ids: Tensor;
  /** i32 [B, L]: rows of the table of positions. */
  readonly positions: Tensor;
  /** i32 [B, L] */
  readonly types: Tensor | undefined;
  /** i32 [B]; absent where nothing is padded. */
  readonly keyLengths: Tensor | undefined;
}

/**
 * Checks rows of equal length, and returns their length.
 *
 * @throws TopKError EMPTY_SEQUENCE, INVALID_OPTION, SHAPE_MISMATCH, and TOO_LONG for more tokens than there are positions.
 */
export function checkInputs(
  where: string,
  config: EncoderConfig,
  { sources, sourceLengths, types }: EncoderInputs,
): number {
  const length = checkRectangle(where, config, sources, sourceLengths);
  checkLength(where, config, length);
  if (types !== undefined) checkTypes(where, config, sources, types);
  return length;
}

/** @throws TopKError TOO_LONG */
export function checkLength(where: string, { maxTokens }: EncoderConfig, length: number): void {
  if (length <= maxTokens) return;
  throw new TopKError('TOO_LONG', `${where}: a source is longer than the model's positions`, {
    expected: `at most ${maxTokens} tokens`,
    got: String(length),
    fix: 'Split the text, or pass truncate: true where the call takes it',
  });
}

function checkTypes(
  where: string,
  { types }: EncoderConfig,
  sources: readonly (readonly number[])[],
  rows: readonly (readonly number[])[],
): void {
  const isRow = (row: readonly number[] | undefined, at: number): boolean =>
    anArray().is(row) && row?.length === sources[at]?.length;
  if (rows.length !== sources.length || !rows.every(isRow)) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: bad types`, {
      expected: 'a type for each token of the sources',
      got: `${rows.length} rows of ${rows.map((row) => row?.length).join(', ')}`,
    });
  }
  const last = Math.max(0, types - 1);
  const bad = rows.flat().find((type) => !(Number.isInteger(type) && type >= 0 && type <= last));
  if (bad === undefined) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad type of a token`, {
    expected: `whole numbers from 0 to ${last}`,
    got: describeValue(bad),
  });
}

/** Uploads rows of at most `length` tokens, padded to it. */
export function encoderBatch(
  backend: Backend,
  config: EncoderConfig,
  { sources, sourceLengths = sources.map((row) => row.length), types }: EncoderInputs,
  length: number,
): EncoderBatch {
  const count = sources.length;
  const ids = new Int32Array(count * length).fill(config.padId);
  for (const [row, source] of sources.entries()) ids.set(source, row * length);
  const kinds = new Int32Array(count * length);
  // A family with one type takes all tokens for that, whatever its tokenizer says.
  if (config.types > 1) for (const [row, own] of (types ?? []).entries()) kinds.set(own, row * length);
  const isPadded = sourceLengths.some((own) => own !== length);
  const shape = [count, length];
  return scope(() => ({
    ids: tensor(backend, ids, shape, 'i32'),
    positions: tensor(backend, positionsOf(config, ids, length), shape, 'i32'),
    types: config.types > 0 ? tensor(backend, kinds, shape, 'i32') : undefined,
    keyLengths: isPadded ? tensor(backend, Int32Array.from(sourceLengths), [count], 'i32') : undefined,
  }));
}

/** RoBERTa counts from the position behind that of padding, and counts no padding; the others count from 0. */
function positionsOf({ family, padId }: EncoderConfig, ids: Int32Array, length: number): Int32Array {
  if (family !== 'roberta') return ids.map((_, at) => at % length);
  let last = padId;
  return ids.map((id, at) => {
    if (at % length === 0) last = padId;
    if (id === padId) return padId;
    last++;
    return last;
  });
}
