import { TopKError } from '@topk-attention/core';
import type { SpanTokenizer, TokenSpans } from '../text/token-spans.js';

/** A question with a part of its context: what a model reads at once. */
export interface ContextWindow {
  readonly ids: readonly number[];
  /** The type (segment) of each id. */
  readonly types: readonly number[];
  /** Where the part of the context begins among the ids. */
  readonly contextAt: number;
  /** The tokens of the context in this window: from `from`, without `to`. */
  readonly from: number;
  readonly to: number;
}

export interface WindowSizes {
  /** Tokens of a window. */
  readonly maxTokens: number;
  /** Tokens that two windows share. */
  readonly stride: number;
}

/**
 * Windows that together cover the context; one if it fits.
 *
 * @throws TopKError TOO_LONG when the question leaves no room for more of the context than two windows share
 */
export function contextWindows(
  where: string,
  tokenizer: SpanTokenizer,
  question: readonly number[],
  context: TokenSpans,
  { maxTokens, stride }: WindowSizes,
): readonly ContextWindow[] {
  const around = tokenizer.wrap(question, []).ids.length;
  const room = maxTokens - around;
  const total = context.ids.length;
  const window = (from: number, to: number): ContextWindow => {
    const { ids, types, secondAt } = tokenizer.wrap(question, context.ids.slice(from, to));
    return { ids, types, contextAt: secondAt, from, to };
  };
  if (total <= room) return [window(0, total)];
  if (room <= stride) {
    throw new TopKError('TOO_LONG', `${where}: no room for the context`, {
      expected: `a question of at most ${Math.max(0, maxTokens - stride - 1 - (around - question.length))} tokens in windows of ${maxTokens} that share ${stride}`,
      got: `${question.length} tokens`,
      fix: 'Shorten the question, or pass a larger maxTokens or a smaller stride',
    });
  }
  const windows: ContextWindow[] = [];
  for (let from = 0; ; from += room - stride) {
    const to = Math.min(from + room, total);
    windows.push(window(from, to));
    if (to === total) return windows;
  }
}
