import { randomBelow } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import { stopIn } from '../../src/text/stop-strings.js';
import { TextStream } from '../../src/text/text-stream.js';
import type { TextTokenizer } from '../../src/text/tokenizer.js';

/** A tokenizer whose ids are bytes. */
const bytes: TextTokenizer = {
  encode: (text) => [...new TextEncoder().encode(text)],
  encodeAsync: async (text) => [...new TextEncoder().encode(text)],
  decode: (ids) => new TextDecoder().decode(Uint8Array.from(ids)),
};

/** What a stream emits for a text, piece by piece, until it stops; and whether it did. */
function streamed(text: string, stopStrings: readonly string[]): { pieces: string[]; isStopped: boolean } {
  const stream = new TextStream(bytes, () => false, stopStrings);
  const ids = bytes.encode(text);
  const pieces: string[] = [];
  for (const [at, id] of ids.entries()) {
    pieces.push(stream.push(id, at === ids.length - 1));
    if (stream.isStopped) break;
  }
  expect(pieces.join('')).toBe(stream.text);
  return { pieces, isStopped: stream.isStopped };
}

describe('a text that grows', () => {
  test('holds back incomplete characters', () => {
    const { pieces } = streamed('aé👍b', []);
    expect(pieces).toEqual(['a', '', 'é', '', '', '', '👍', 'b']);
  });

  test('ends in front of a stop string, of which nothing is emitted', () => {
    const { pieces, isStopped } = streamed('one<|end|>two', ['<|end|>']);
    expect(isStopped).toBe(true);
    expect(pieces.join('')).toBe('one');
    expect(pieces.slice(0, 3)).toEqual(['o', 'n', 'e']);
  });

  test('goes on when what began was no stop string', () => {
    const { pieces, isStopped } = streamed('a<|b', ['<|end|>']);
    expect(pieces).toEqual(['a', '', '', '<|b']);
    expect(isStopped).toBe(false);
  });

  test('emits what it held back at its end', () => {
    expect(streamed('a<|e', ['<|end|>']).pieces).toEqual(['a', '', '', '<|e']);
  });

  test('stop strings beyond ASCII, and inside each other', () => {
    expect(streamed('x日本y', ['本']).pieces.join('')).toBe('x日');
    expect(streamed('aabaab', ['aab', 'ab']).pieces.join('')).toBe('');
  });

  test('is the text up to the first stop string, whatever the strings are', () => {
    const alphabet = ['a', 'b', 'é'];
    const random = randomBelow(4);
    const word = (most: number): string =>
      Array.from({ length: 1 + random(most) }, () => alphabet[random(3)]).join('');
    for (let turn = 0; turn < 500; turn++) {
      const text = word(14);
      const stops = Array.from({ length: random(3) }, () => word(4));
      const { pieces, isStopped } = streamed(text, stops);
      // The first of the stop strings that is complete ends the text.
      let expected = text;
      let stopped = false;
      for (let length = 1; length <= text.length && !stopped; length++) {
        const so = text.slice(0, length);
        const starts = stops.filter((one) => so.includes(one)).map((one) => so.indexOf(one));
        if (starts.length === 0) continue;
        stopped = true;
        expected = text.slice(0, Math.min(...starts));
      }
      expect(pieces.join(''), `${text} ${stops}`).toBe(expected);
      expect(isStopped).toBe(stopped);
    }
  });
});

test('a text may go on as far as no stop string can begin', () => {
  expect(stopIn('abc', [])).toEqual({ end: 3, isStopped: false });
  expect(stopIn('abc', ['cd', 'bcde'])).toEqual({ end: 1, isStopped: false });
  expect(stopIn('abcd', ['cd', 'bcde'])).toEqual({ end: 2, isStopped: true });
  expect(stopIn('cdab', ['cd'], 1)).toEqual({ end: 4, isStopped: false });
});
