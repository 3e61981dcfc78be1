import { TopKError } from '@topk-attention/core';
import type { RankingOptions } from '../question-answering/answer-spans.js';
import { type ContextWindow, contextWindows } from '../question-answering/windows.js';
import { requirePositive } from '../require-positive.js';
import type { TokenSpans } from '../text/token-spans.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import type { AnswerOptions, ContextQuestion } from './options.js';
import { spansOf } from './token-sources.js';

/** As in the question-answering pipeline of transformers. */
const LONGEST_WINDOW = 384;
const LARGEST_STRIDE = 128;
const LONGEST_ANSWER = 15;

/** A question as a model reads it. */
export interface ReadQuestion {
  readonly context: TokenSpans;
  readonly windows: readonly ContextWindow[];
  readonly ranking: RankingOptions;
}

/**
 * Tokens and windows of a question, and how to rank its answers.
 *
 * @param most tokens that the model has positions for
 * @throws TopKError as `Encoder.answer`
 */
export function readQuestion(
  tokenizer: TextTokenizer | undefined,
  { question, context }: ContextQuestion,
  options: AnswerOptions,
  most: number,
): ReadQuestion {
  const {
    topK = 1,
    maxTokens = Math.min(most, LONGEST_WINDOW),
    stride = Math.min(Math.floor(maxTokens / 2), LARGEST_STRIDE),
    maxAnswerTokens = LONGEST_ANSWER,
    allowNoAnswer = false,
    alignToWords = true,
  } = options;
  requirePositive('answer', 'topK', topK);
  requirePositive('answer', 'maxAnswerTokens', maxAnswerTokens);
  requireWithin('answer', 'maxTokens', maxTokens, 1, most);
  requireWithin('answer', 'stride', stride, 0, maxTokens - 1);
  const spans = spansOf('answer', tokenizer);
  const read = { question: spans.encode(question), context: spans.encode(context) };
  for (const [name, { ids }] of Object.entries(read)) {
    if (ids.length > 0) continue;
    throw new TopKError('EMPTY_SEQUENCE', `answer: empty ${name}`, {
      expected: 'at least one token',
      got: '0',
    });
  }
  const sizes = { maxTokens, stride };
  return {
    context: read.context,
    windows: contextWindows('answer', spans, read.question.ids, read.context, sizes),
    ranking: { topK, maxAnswerTokens, allowNoAnswer, alignToWords },
  };
}

function requireWithin(where: string, name: string, value: number, from: number, to: number): void {
  if (Number.isSafeInteger(value) && value >= from && value <= to) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: `a whole number from ${from} to ${to}`,
    got: String(value),
  });
}
