import { describeValue, TopKError } from '@topk-attention/core';
import { promptIds } from '../generation/prompts.js';
import { checkIds } from '../generation/token-batch.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import type { EncoderConfig } from './config.js';
import type { EncoderCallOptions } from './options.js';
import { checkLength } from './token-rows.js';

/** Two texts that are read together: premise and hypothesis, question and passage. */
export interface TextPair {
  readonly text: string;
  readonly pair: string;
}

/** A text, two texts, or token ids with the special tokens. */
export type EncoderSource = string | TextPair | readonly number[];

/** A tokenised source. */
export interface TokenRow {
  readonly ids: readonly number[];
  /** The type (segment) of each token. */
  readonly types: readonly number[];
}

/**
 * Token ids of each source, at most as many as the model has positions.
 *
 * @throws TopKError INVALID_OPTION for anything but a batch, UNSUPPORTED for pairs that the tokenizer cannot join, TOO_LONG,
 * EMPTY_SEQUENCE, ABORTED.
 */
export async function tokenRows(
  where: string,
  config: EncoderConfig,
  tokenizer: TextTokenizer | undefined,
  sources: readonly EncoderSource[],
  options: Pick<EncoderCallOptions, 'signal' | 'onProgress' | 'truncate'>,
): Promise<readonly TokenRow[]> {
  const isPair = (source: EncoderSource): source is TextPair =>
    typeof source === 'object' && source !== null && 'pair' in source;
  const list = Array.isArray(sources) ? sources : [sources];
  const single = Array.isArray(sources) ? list.map((one) => (isPair(one) ? [] : one)) : sources;
  const ids = await promptIds(where, tokenizer, single as readonly (string | readonly number[])[], options);
  const rows = list.map((source, at) =>
    isPair(source)
      ? pairRow(where, config, tokenizer, source, options)
      : shortened(config, source, tokenizer, ids[at] as readonly number[], options),
  );
  checkIds(
    where,
    config,
    rows.map((row) => row.ids),
  );
  for (const row of rows) checkLength(where, config, row.ids.length);
  return rows;
}

function shortened(
  { maxTokens }: EncoderConfig,
  source: unknown,
  tokenizer: TextTokenizer | undefined,
  ids: readonly number[],
  { truncate = false }: Pick<EncoderCallOptions, 'truncate'>,
): TokenRow {
  const isCut = truncate && typeof source === 'string' && ids.length > maxTokens;
  const kept = isCut ? cutText(maxTokens, tokenizer, source, ids) : ids;
  // What is no list of ids has no length; the check of all rows says so.
  return { ids: kept, types: Array.from({ length: kept?.length ?? 0 }, () => 0) };
}

/** Without the tokens at the end of a text that are too many; special tokens stay. */
function cutText(
  maxTokens: number,
  tokenizer: TextTokenizer | undefined,
  text: string,
  ids: readonly number[],
): readonly number[] {
  const spans = tokenizer?.spans;
  // One special token ends the text, in every tokenizer of these families.
  if (spans === undefined) return [...ids.slice(0, maxTokens - 1), ids.at(-1) as number];
  const room = maxTokens - spans.wrap([]).ids.length;
  return spans.wrap(spans.encode(text).ids.slice(0, Math.max(0, room))).ids;
}

function pairRow(
  where: string,
  { maxTokens }: EncoderConfig,
  tokenizer: TextTokenizer | undefined,
  { text, pair }: TextPair,
  { truncate = false }: Pick<EncoderCallOptions, 'truncate'>,
): TokenRow {
  const spans = spansOf(where, tokenizer);
  for (const one of [text, pair]) {
    if (typeof one === 'string') continue;
    throw new TopKError('INVALID_OPTION', `${where}: not a pair of texts`, {
      expected: '{ text, pair }, both strings',
      got: describeValue(one),
    });
  }
  let [first, second] = [spans.encode(text).ids, spans.encode(pair).ids];
  if (truncate) {
    const room = Math.max(0, maxTokens - spans.wrap([], []).ids.length);
    [first, second] = longestFirst(first, second, room);
  }
  return spans.wrap(first, second);
}

/** The longer of two texts gets shorter until both fit, as transformers truncates pairs. */
function longestFirst(
  first: readonly number[],
  second: readonly number[],
  room: number,
): [readonly number[], readonly number[]] {
  if (first.length + second.length <= room) return [first, second];
  const half = Math.floor(room / 2);
  if (first.length <= half) return [first, second.slice(0, room - first.length)];
  if (second.length <= half) return [first.slice(0, room - second.length), second];
  const atFirst = first.length > second.length ? room - half : half;
  return [first.slice(0, atFirst), second.slice(0, room - atFirst)];
}

/** What the tokenizer knows about places. @throws TopKError INVALID_OPTION without a tokenizer, UNSUPPORTED */
export function spansOf(
  where: string,
  tokenizer: TextTokenizer | undefined,
): NonNullable<TextTokenizer['spans']> {
  if (tokenizer?.spans !== undefined) return tokenizer.spans;
  if (tokenizer === undefined) {
    throw new TopKError('INVALID_OPTION', `${where}: the model has no tokenizer`, {
      expected: 'a model with a tokenizer',
      got: 'none',
      fix: 'Load without tokenizer: false',
    });
  }
  throw new TopKError('UNSUPPORTED', `${where}: the tokenizer does not tell where tokens stand in a text`, {
    expected: "WordPiece of BERT's kind or byte-level BPE of GPT-2's",
    got: 'another tokenizer',
    fix: 'Join the ids of pairs yourself',
  });
}
