import { readDrawCases } from '@topk-attention/t5-goldens';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { describe, expect, test } from 'vitest';
import { draw, probabilities, softmax, uniform } from '../../src/generation/sampling.js';

const all = { temperature: 1, topK: 0, topP: 1, minP: 0 };

function randomLogits(seed: number, size: number, steps = 1000): Float64Array {
  const random = randomBelow(seed);
  // Few steps make ties.
  return Float64Array.from({ length: size }, () => (random(steps) / steps) * 6 - 3);
}

/** Ids by falling score; of equal ones the lower first. */
function ranked(scores: Float64Array): number[] {
  return [...scores.keys()].sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
}

/** Softmax over some ids alone, by its definition. */
function among(scores: Float64Array, ids: ReadonlySet<number>): number[] {
  const total = [...ids].reduce((sum, id) => sum + Math.exp(scores[id] as number), 0);
  return [...scores].map((score, id) => (ids.has(id) ? Math.exp(score) / total : 0));
}

function expectClose(got: Float64Array, expected: readonly number[]): void {
  expect(got).toHaveLength(expected.length);
  for (const [id, share] of expected.entries()) expect(got[id]).toBeCloseTo(share, 12);
}

describe('probabilities', () => {
  test('temperature divides logits', () => {
    const logits = randomLogits(1, 9);
    const everything = new Set(logits.keys());
    for (const temperature of [0.2, 1, 3])
      expectClose(
        probabilities(logits, { ...all, temperature }),
        among(
          logits.map((x) => x / temperature),
          everything,
        ),
      );
  });

  test('a temperature near 0 leaves the best one, however large or small logits are', () => {
    for (const temperature of [1e-3, 1e-300, Number.MIN_VALUE])
      for (const logits of [Float64Array.of(900, 1000, -5), Float64Array.of(-2000, -3, -4)])
        expect([...probabilities(logits, { ...all, temperature })]).toEqual([0, 1, 0]);
  });

  test('topK keeps the k best and their ties', () => {
    for (let seed = 0; seed < 60; seed++) {
      const logits = randomLogits(seed, 12, seed % 2 === 0 ? 1000 : 5);
      const topK = 1 + (seed % 13);
      const least = logits[ranked(logits)[Math.min(topK, 12) - 1] as number] as number;
      const kept = new Set([...logits.keys()].filter((id) => (logits[id] as number) >= least));
      expectClose(probabilities(logits, { ...all, topK }), among(logits, kept));
    }
  });

  test('topP keeps the fewest that reach the mass', () => {
    for (let seed = 0; seed < 60; seed++) {
      const logits = randomLogits(seed, 10);
      const topP = (seed % 10) / 10 + 0.05;
      const shares = softmax(logits);
      const order = ranked(logits);
      let count = 0;
      for (let mass = 0; mass < topP; count++) mass += shares[order[count] as number] as number;
      expectClose(probabilities(logits, { ...all, topP }), among(logits, new Set(order.slice(0, count))));
    }
    expect([...probabilities(Float64Array.of(1, 3, 2), { ...all, topP: 0 })]).toEqual([0, 1, 0]);
  });

  test('minP keeps what has its share of the best one', () => {
    for (let seed = 0; seed < 60; seed++) {
      const logits = randomLogits(seed, 10);
      const minP = (seed % 10) / 10 + 0.05;
      const shares = softmax(logits);
      const kept = new Set(
        [...shares.keys()].filter((id) => (shares[id] as number) >= minP * Math.max(...shares)),
      );
      expectClose(probabilities(logits, { ...all, minP }), among(logits, kept));
    }
  });

  test('all together: the order is temperature, topK, topP, minP', () => {
    // 0.4, 0.3, 0.2, 0.1: topK keeps three (4/9, 3/9, 2/9), topP 0.7 the first two (4/7, 3/7), minP 0.8 the first.
    const logits = Float64Array.of(0.3, 0.1, 0.4, 0.2).map(Math.log);
    const three = { temperature: 1, topK: 3, topP: 0.7, minP: 0 };
    expectClose(probabilities(logits, three), [3 / 7, 0, 4 / 7, 0]);
    expectClose(probabilities(logits, { ...three, minP: 0.8 }), [0, 0, 1, 0]);
  });

  test.each(readDrawCases())(
    "are transformers' own: $options",
    ({ options, logits, probabilities: expected }) => {
      expectClose(probabilities(Float64Array.from(logits), { ...all, ...options }), expected);
    },
  );

  test('banned tokens stay banned', () => {
    const logits = Float64Array.of(1, Number.NEGATIVE_INFINITY, 1);
    expectClose(probabilities(logits, { ...all, topK: 3, topP: 0.99 }), [0.5, 0, 0.5]);
  });
});

/** 99.9 % of samples of the distribution lie below, by degrees of freedom. */
const CHI_SQUARE: Readonly<Record<number, number>> = { 4: 18.47, 9: 27.88, 15: 37.7 };

function chiSquare(counts: ArrayLike<number>, shares: ArrayLike<number>, draws: number): number {
  return Array.from(counts).reduce((sum, count, id) => {
    const expected = draws * (shares[id] as number);
    if (expected > 0) return sum + (count - expected) ** 2 / expected;
    expect(count).toBe(0);
    return sum;
  }, 0);
}

describe('draws', () => {
  test.each([1, 7, 2 ** 40 + 3])('have the probabilities that they should have, seed %d', (seed) => {
    const draws = 20_000;
    const shares = probabilities(randomLogits(3, 8), { temperature: 1.3, topK: 5, topP: 1, minP: 0 });
    const counts = new Float64Array(8);
    for (let step = 0; step < draws; step++) {
      const id = draw(shares, uniform(seed, 0, step));
      counts[id] = (counts[id] as number) + 1;
    }
    expect(chiSquare(counts, shares, draws)).toBeLessThan(CHI_SQUARE[4] as number);
  });

  test('rows and steps are independent of each other', () => {
    // Pairs of tenths of (row, row + 1) and (step, step + 1), in a four by four table.
    const at = (row: number, step: number): number => Math.floor(uniform(5, row, step) * 4);
    const [ofRows, ofSteps] = [new Float64Array(16), new Float64Array(16)];
    for (let row = 0; row < 50; row++) {
      for (let step = 0; step < 200; step++) {
        const own = at(2 * row, 2 * step);
        for (const [table, other] of [
          [ofRows, at(2 * row + 1, 2 * step)],
          [ofSteps, at(2 * row, 2 * step + 1)],
        ] as const)
          table[own * 4 + other] = (table[own * 4 + other] as number) + 1;
      }
    }
    const even = Array.from({ length: 16 }, () => 1 / 16);
    for (const table of [ofRows, ofSteps])
      expect(chiSquare(table, even, 10_000)).toBeLessThan(CHI_SQUARE[15] as number);
  });

  test('lie in [0, 1), spread evenly, and depend on the seed', () => {
    const counts = new Float64Array(10);
    for (let step = 0; step < 10_000; step++) {
      const at = uniform(11, 3, step);
      expect(at).toBeGreaterThanOrEqual(0);
      expect(at).toBeLessThan(1);
      counts[Math.floor(at * 10)] = (counts[Math.floor(at * 10)] as number) + 1;
    }
    expect(
      chiSquare(
        counts,
        Array.from({ length: 10 }, () => 0.1),
        10_000,
      ),
    ).toBeLessThan(CHI_SQUARE[9] as number);
    expect(uniform(1, 0, 0)).not.toBe(uniform(2, 0, 0));
    expect(uniform(1, 0, 0)).not.toBe(uniform(2 ** 32 + 1, 0, 0));
    expect(uniform(1, 0, 0)).toBe(uniform(1, 0, 0));
  });

  test('never give a token of probability 0', () => {
    expect(draw(Float64Array.of(0, 0.5, 0, 0.5, 0), 0)).toBe(1);
    expect(draw(Float64Array.of(0, 0.5, 0, 0.5, 0), 0.5)).toBe(3);
    expect(draw(Float64Array.of(0, 0.5, 0, 0.5 - 1e-16, 0), 1 - 2 ** -53)).toBe(3);
  });
});
