import { softmax } from '../generation/sampling.js';
import type { TokenSpans } from '../text/token-spans.js';
import type { ContextWindow } from './windows.js';

/** A part of the context that answers the question. */
export interface ExtractedAnswer {
  /** The part of the context; '' for no answer, and for tokens of spaces alone. */
  readonly text: string;
  /** Where it stands in the context, as `slice` counts; 0 to 0 for no answer. */
  readonly start: number;
  readonly end: number;
  /** Probability of its begin times that of its end, within its window; summed over windows that give the same text. */
  readonly score: number;
}

export interface RankingOptions {
  readonly topK: number;
  /** Longest answer in tokens. */
  readonly maxAnswerTokens: number;
  readonly allowNoAnswer: boolean;
  readonly alignToWords: boolean;
}

/** Logits of one window: a begin and an end for each id. */
export interface WindowLogits {
  readonly window: ContextWindow;
  readonly starts: ArrayLike<number>;
  readonly ends: ArrayLike<number>;
}

/** A span of tokens of the context, both ends included. */
interface TokenSpan {
  readonly first: number;
  readonly last: number;
  readonly score: number;
}

/**
 * The best answers of all windows, as the question-answering pipeline of transformers 4 ranks them: in each window, softmax
 * over the context and the first token, which stands for no answer; the `topK` best products of begin and end; texts that are
 * equal but for case joined; the product of the first token's two probabilities, the least of all windows, for no answer.
 */
export function rankAnswers(
  context: string,
  spans: TokenSpans,
  logits: readonly WindowLogits[],
  { topK, maxAnswerTokens, allowNoAnswer, alignToWords }: RankingOptions,
): readonly ExtractedAnswer[] {
  const answers = new Map<string, { text: string; start: number; end: number; score: number }>();
  let noAnswer = Number.POSITIVE_INFINITY;
  for (const { window, starts, ends } of logits) {
    const begin = probabilities(starts, window);
    const end = probabilities(ends, window);
    noAnswer = Math.min(noAnswer, begin.first * end.first);
    for (const span of bestSpans(begin.context, end.context, topK, maxAnswerTokens)) {
      const [first, last] = alignToWords
        ? wholeWords(spans.words, window, window.from + span.first, window.from + span.last)
        : [window.from + span.first, window.from + span.last];
      const [start, stop] = [spans.starts[first] as number, spans.ends[last] as number];
      const text = context.slice(start, stop);
      const known = answers.get(text.toLowerCase());
      if (known !== undefined) known.score += span.score;
      else answers.set(text.toLowerCase(), { text, start, end: stop, score: span.score });
    }
  }
  const all = [...answers.values()];
  if (allowNoAnswer) all.push({ text: '', start: 0, end: 0, score: noAnswer });
  return all.sort((a, b) => b.score - a.score).slice(0, topK);
}

/** Softmax over the first token and the context of a window. */
function probabilities(
  logits: ArrayLike<number>,
  { contextAt, from, to }: ContextWindow,
): { readonly first: number; readonly context: Float64Array } {
  const all = new Float64Array(1 + to - from);
  for (let at = 0; at < all.length; at++) all[at] = logits[at === 0 ? 0 : contextAt + at - 1] as number;
  const shares = softmax(all);
  return { first: shares[0] as number, context: shares.subarray(1) };
}

/** The spans with the largest products, the best first; among equals, the one that begins, then ends, first. */
function bestSpans(
  begin: Float64Array,
  end: Float64Array,
  topK: number,
  longest: number,
): readonly TokenSpan[] {
  const best: TokenSpan[] = [];
  for (const [first, probability] of begin.entries()) {
    for (let last = first; last < Math.min(first + longest, end.length); last++) {
      const score = probability * (end[last] as number);
      if (best.length === topK && score <= (best.at(-1) as TokenSpan).score) continue;
      let at = best.length;
      while (at > 0 && (best[at - 1] as TokenSpan).score < score) at--;
      best.splice(at, 0, { first, last, score });
      if (best.length > topK) best.pop();
    }
  }
  return best;
}

/** The first token of the first word and the last of the last, as far as the window has them. */
function wholeWords(
  words: readonly number[],
  { from, to }: ContextWindow,
  first: number,
  last: number,
): readonly [first: number, last: number] {
  let [begin, end] = [first, last];
  while (begin > from && words[begin - 1] === words[first]) begin--;
  while (end < to - 1 && words[end + 1] === words[last]) end++;
  return [begin, end];
}
