import { randomBelow } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import { processorsOf } from '../../src/generation/processors.js';
import type { GenerationSettings } from '../../src/generation/settings.js';
import { strategy } from './support.js';

const VOCABULARY = 7;
const ENDS = [2, 5];

/** Random scores, and a sequence with repetitions. */
function drawn(seed: number): {
  scores: Float64Array;
  sequence: number[];
  random: (limit: number) => number;
} {
  const random = randomBelow(seed);
  return {
    random,
    scores: Float64Array.from({ length: VOCABULARY }, () => random(2001) / 500 - 2),
    sequence: Array.from({ length: 1 + random(14) }, () => random(VOCABULARY)),
  };
}

function processed(
  settings: GenerationSettings,
  scores: Float64Array,
  sequence: readonly number[],
  newTokens: number,
): Float64Array {
  const own = scores.slice();
  for (const one of processorsOf(strategy(settings, ENDS))) one(own, sequence, newTokens);
  return own;
}

describe('rules for the next token, against what they mean', () => {
  test('no run of noRepeatNgramSize tokens occurs twice: exactly those that would are banned', () => {
    for (let seed = 0; seed < 400; seed++) {
      const { random, scores, sequence } = drawn(seed);
      const size = 1 + random(4);
      const runs = new Set<string>();
      for (let at = 0; at + size <= sequence.length; at++) runs.add(sequence.slice(at, at + size).join());
      const got = processed({ noRepeatNgramSize: size }, scores, sequence, 0);
      for (let id = 0; id < VOCABULARY; id++) {
        const run = [...sequence, id].slice(-size);
        const isBanned = run.length === size && runs.has(run.join());
        expect(got[id], `seed ${seed}, id ${id}`).toBe(isBanned ? Number.NEGATIVE_INFINITY : scores[id]);
      }
    }
  });

  test('repetitionPenalty makes tokens of the sequence less likely, once, and leaves the others', () => {
    for (let seed = 0; seed < 100; seed++) {
      const { scores, sequence } = drawn(seed);
      const got = processed({ repetitionPenalty: 1.5 }, scores, sequence, 0);
      for (const [id, score] of scores.entries()) {
        const expected = !sequence.includes(id) ? score : score > 0 ? score / 1.5 : score * 1.5;
        expect(got[id]).toBe(expected);
        expect(got[id]).toBeLessThanOrEqual(score);
      }
    }
  });

  test('no end before minNewTokens new ones, or minLength in all', () => {
    for (let seed = 0; seed < 100; seed++) {
      const { random, scores, sequence } = drawn(seed);
      const newTokens = random(sequence.length + 1);
      const least = 1 + random(10);
      for (const [settings, length] of [
        [{ minNewTokens: least }, newTokens],
        [{ minLength: least }, sequence.length],
      ] as const) {
        const got = processed(settings, scores, sequence, newTokens);
        for (const [id, score] of scores.entries()) {
          const isBanned = ENDS.includes(id) && length < least;
          expect(got[id]).toBe(isBanned ? Number.NEGATIVE_INFINITY : score);
        }
      }
    }
  });

  test('rules that are off change nothing', () => {
    expect(processorsOf(strategy({}, ENDS))).toEqual([]);
    const off = { repetitionPenalty: 1, noRepeatNgramSize: 0, minNewTokens: 0 };
    expect(processorsOf(strategy(off, ENDS))).toEqual([]);
  });
});
