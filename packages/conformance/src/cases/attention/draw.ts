import type { Nd } from '../../harness/support/nd.js';
import type { Random } from '../../harness/support/random.js';
import type { AttentionProblem } from './problem.js';

export interface Geometry {
  readonly batch?: number;
  readonly queryHeads?: number;
  readonly keyHeads?: number;
  readonly queryLength: number;
  readonly keyLength: number;
  readonly headDim?: number;
  readonly valueDim?: number;
}

/**
 * q, k and v whose scores every backend computes exactly: halves up to 2 and a scale that is a power of two. Many
 * scores are equal, so that the rule for ties is tested everywhere, and kept keys have to agree on every backend.
 */
export function exactScores(
  random: Random,
  geometry: Geometry,
): Pick<AttentionProblem, 'q' | 'k' | 'v' | 'scale'> {
  const { batch = 1, queryHeads = 1, keyHeads = queryHeads, queryLength, keyLength } = geometry;
  const { headDim = 4, valueDim = headDim } = geometry;
  const halves = (shape: readonly number[]): Nd => {
    const { data } = random.integers(shape, -4, 4);
    return { shape, data: data.map((value) => value / 2) };
  };
  return {
    q: halves([batch, queryHeads, queryLength, headDim]),
    k: halves([batch, keyHeads, keyLength, headDim]),
    v: random.uniform([batch, keyHeads, keyLength, valueDim]),
    scale: 0.5,
  };
}

/** Ordinary fractions: scores differ in their last bits between backends. */
export function roundedScores(random: Random, geometry: Geometry): Pick<AttentionProblem, 'q' | 'k' | 'v'> {
  const { batch = 1, queryHeads = 1, keyHeads = queryHeads, queryLength, keyLength } = geometry;
  const { headDim = 4, valueDim = headDim } = geometry;
  const fractions = (shape: readonly number[]): Nd => {
    const { data } = random.uniform(shape);
    return { shape, data: data.map((value) => Math.fround(2 * value)) };
  };
  return {
    q: fractions([batch, queryHeads, queryLength, headDim]),
    k: fractions([batch, keyHeads, keyLength, headDim]),
    v: random.uniform([batch, keyHeads, keyLength, valueDim]),
  };
}

/** Eighths: added to exact scores they stay exact. */
export function eighths(random: Random, shape: readonly number[]): Nd {
  return { shape, data: random.integers(shape, -12, 12).data.map((value) => value / 8) };
}
