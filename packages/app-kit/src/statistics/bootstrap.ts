import { seededRandom } from './seeded-random.js';

export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 10_000;

/**
 * Mean over groups of the mean within each group, with a 95 % percentile interval from 10,000 resamples of the questions
 * within each group. Paired when the values are differences of two runs on the same questions.
 */
export function bootstrapMean(groups: readonly (readonly number[])[], seed: number): Interval {
  const random = seededRandom(seed);
  const means: number[] = [];
  for (let round = 0; round < RESAMPLES; round++) {
    let total = 0;
    for (const values of groups) {
      let sum = 0;
      for (let i = 0; i < values.length; i++) sum += values[Math.floor(random() * values.length)] as number;
      total += sum / values.length;
    }
    means.push(total / groups.length);
  }
  means.sort((a, b) => a - b);
  const at = (share: number): number => means[Math.round(share * (RESAMPLES - 1))] as number;
  return { mean: meanOfGroups(groups), low: at(0.025), high: at(0.975) };
}

/** Mean over groups of the mean within each. */
export function meanOfGroups(groups: readonly (readonly number[])[]): number {
  return mean(groups.map(mean));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
