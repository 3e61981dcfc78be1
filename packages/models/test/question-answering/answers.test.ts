import { randomBelow } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import { rankAnswers } from '../../src/question-answering/answer-spans.js';
import { contextWindows } from '../../src/question-answering/windows.js';

/** Wraps as BERT does, with ids 1 and 2 for the special tokens. */
const tokenizer = {
  encode: () => {
    throw new Error('not asked for');
  },
  wrap(first: readonly number[], second?: readonly number[]) {
    const ids = [1, ...first, 2, ...(second === undefined ? [] : [...second, 2])];
    const types = ids.map((_, at) => (at < first.length + 2 ? 0 : 1));
    return { ids, types, firstAt: 1, secondAt: first.length + 2 };
  },
};

/** Tokens of one character each; words of two tokens. */
function spansOf(length: number) {
  const places = Array.from({ length }, (_, at) => at);
  return {
    ids: places.map((at) => at + 10),
    starts: places,
    ends: places.map((at) => at + 1),
    words: places.map((at) => Math.floor(at / 2)),
  };
}

describe('windows', () => {
  const random = randomBelow(3);
  const coversItsContext = (): void => {
    const total = 1 + random(60);
    const asked = random(6);
    const room = 2 + random(12);
    const stride = random(room);
    const question = Array.from({ length: asked }, (_, at) => at + 3);
    const context = spansOf(total);
    const sizes = { maxTokens: asked + 3 + room, stride };
    const windows = contextWindows('answer', tokenizer, question, context, sizes);
    expect(windows[0]?.from).toBe(0);
    expect(windows.at(-1)?.to).toBe(total);
    for (const [at, { ids, types, contextAt, from, to }] of windows.entries()) {
      expect(ids.length).toBeLessThanOrEqual(sizes.maxTokens);
      expect(types).toHaveLength(ids.length);
      expect(ids.slice(contextAt, contextAt + to - from)).toEqual(context.ids.slice(from, to));
      const next = windows[at + 1];
      // Only the last window may be short; no window is needless.
      if (next === undefined) continue;
      expect(to - from).toBe(room);
      expect(to - next.from).toBe(stride);
      expect(next.to).toBeGreaterThan(to);
    }
  };

  test('cover the context and share the stride', () => {
    for (let times = 0; times < 200; times++) coversItsContext();
  });
});

describe('answers', () => {
  const random = randomBelow(4);
  const number = (): number => random(1000) / 100 - 5;

  const findsTheBest = (): void => {
    const length = 1 + random(12);
    const longest = 1 + random(6);
    const topK = 1 + random(8);
    const context = Array.from({ length }, (_, at) => String.fromCharCode(97 + at)).join('');
    const spans = spansOf(length);
    const [window] = contextWindows('answer', tokenizer, [5, 6], spans, { maxTokens: 100, stride: 10 });
    if (window === undefined) throw new Error('no window');
    const starts = window.ids.map(number);
    const ends = window.ids.map(number);
    const options = { topK, maxAnswerTokens: longest, allowNoAnswer: true, alignToWords: false };
    const got = rankAnswers(context, spans, [{ window, starts, ends }], options);

    // By brute force: all products, all spans.
    const counts = (at: number): boolean =>
      at === 0 || (at >= window.contextAt && at < window.contextAt + length);
    const sum = (x: readonly number[]): number =>
      x.reduce((total, one, at) => (counts(at) ? total + Math.exp(one) : total), 0);
    const share = (x: readonly number[], at: number): number => Math.exp(x[at] as number) / sum(x);
    const all = [{ text: '', start: 0, end: 0, score: share(starts, 0) * share(ends, 0) }];
    for (let first = 0; first < length; first++) {
      for (let last = first; last < Math.min(length, first + longest); last++) {
        const score = share(starts, window.contextAt + first) * share(ends, window.contextAt + last);
        all.push({ text: context.slice(first, last + 1), start: first, end: last + 1, score });
      }
    }
    all.sort((a, b) => b.score - a.score);
    expect(got.map(({ text }) => text)).toEqual(all.slice(0, topK).map(({ text }) => text));
    for (const [at, { score }] of got.entries()) expect(score).toBeCloseTo(all[at]?.score ?? 0, 9);
  };

  test('are the best of all spans', () => {
    for (let times = 0; times < 50; times++) findsTheBest();
  });

  test('begin and end with whole words, as far as the window has them', () => {
    const spans = spansOf(8);
    const windows = contextWindows('answer', tokenizer, [5], spans, { maxTokens: 9, stride: 2 });
    expect(windows.map(({ from, to }) => [from, to])).toEqual([
      [0, 5],
      [3, 8],
    ]);
    const logits = windows.map((window) => ({
      window,
      // The second token of the context of each window.
      starts: window.ids.map((_, at) => (at === window.contextAt + 1 ? 9 : 0)),
      ends: window.ids.map((_, at) => (at === window.contextAt + 1 ? 9 : 0)),
    }));
    const options = { topK: 2, maxAnswerTokens: 3, allowNoAnswer: false, alignToWords: true };
    const answers = rankAnswers('abcdefgh', spans, logits, options);
    expect(answers.map(({ text }) => text).sort()).toEqual(['ab', 'ef']);
  });

  test('of several windows with equal texts count together', () => {
    const spans = spansOf(6);
    const windows = contextWindows('answer', tokenizer, [5], spans, { maxTokens: 7, stride: 0 });
    const logits = windows.map((window) => ({
      window,
      starts: window.ids.map((_, at) => (at === window.contextAt ? 5 : 0)),
      ends: window.ids.map((_, at) => (at === window.contextAt ? 5 : 0)),
    }));
    const options = { topK: 1, maxAnswerTokens: 1, allowNoAnswer: false, alignToWords: false };
    const [joined] = rankAnswers('abcAbc', spans, logits, options);
    const [alone] = rankAnswers('abcxbc', spans, logits, options);
    expect(joined).toMatchObject({ text: 'a', start: 0, end: 1 });
    expect(joined?.score).toBeCloseTo(2 * (alone?.score ?? 0), 9);
  });
});
