import { check } from '../../harness/support/assert.js';
import { at, type Nd, nd } from '../../harness/support/nd.js';
import { philoxWord } from '../../harness/support/philox.js';
import type { AttentionAnswer, AttentionProblem, GradientRole } from './problem.js';

/** An answer plus what only brute force knows. */
export interface Solution extends AttentionAnswer {
  /** [B, Hq, Lq, slots]: scores of the kept keys, then -inf; NaN throughout in rows with a NaN score. */
  readonly scores: readonly number[];
  /**
   * Elements of gradients that the contract leaves open: if only k keys are kept, it is undefined which keys of a row
   * with a NaN score take part, so the valid ones may or may not be NaN. Absent if all is defined.
   */
  readonly open: Partial<Record<GradientRole, readonly boolean[]>>;
}

interface Row {
  readonly b: number;
  readonly h: number;
  readonly i: number;
}

/** 'f32': scores beyond the largest f32 number are infinite, as on every engine. Nothing else is rounded. */
export type ScoreRange = 'f32' | 'f64';

/** x within that range. */
export function limited(range: ScoreRange, x: number): number {
  return range === 'f32' && !Number.isFinite(Math.fround(x)) ? Math.fround(x) : x;
}

/**
 * The bucket of a key at `position` relative to the query, as the published code of T5 computes it, in f32 from the
 * distance on: the first half of the buckets of a direction hold one distance each, the others grow by a factor.
 */
function publishedBucket(
  position: number,
  buckets: number,
  bidirectional: boolean,
  maxDistance: number,
): number {
  const f32 = Math.fround;
  const perSide = bidirectional ? Math.floor(buckets / 2) : buckets;
  const side = bidirectional && position > 0 ? perSide : 0;
  const distance = bidirectional ? Math.abs(position) : Math.max(0, -position);
  const single = Math.floor(perSide / 2);
  if (distance < single) return side + distance;
  const grown = f32(f32(Math.log(f32(distance / single))) / f32(Math.log(maxDistance / single)));
  const wide = single + Math.trunc(f32(grown * (perSide - single)));
  return side + Math.min(wide, perSide - 1);
}

/** Position of the first query among the keys; by default the last query is aligned with the last key. */
function firstOf({ q, k, queryStart }: AttentionProblem): number {
  return queryStart ?? (k.shape[2] as number) - (q.shape[2] as number);
}

function bucketOf(problem: AttentionProblem, i: number, j: number): number {
  const { table, relative } = problem;
  check(table !== undefined && relative !== undefined, 'conformance: a table without its options');
  const position = j - i - firstOf(problem);
  return publishedBucket(position, table.shape[0] as number, relative.bidirectional, relative.maxDistance);
}

/** The score of each key for one query; undefined where the key is not valid. */
function scoresOf(problem: AttentionProblem, { b, h, i }: Row, range: ScoreRange): (number | undefined)[] {
  const { q, k, mask, keyLengths, bias, table, causal = false } = problem;
  const [, heads = 1, , width = 1] = q.shape;
  const [, keyHeads = 1, keys = 1] = k.shape;
  const scale = problem.scale ?? width ** -0.5;
  const keyHead = Math.floor(h / (heads / keyHeads));
  return Array.from({ length: keys }, (_, j) => {
    if (mask !== undefined && at(mask, [b, h, i, j]) === 0) return undefined;
    if (keyLengths !== undefined && j >= at(keyLengths, [b])) return undefined;
    if (causal && j - i > firstOf(problem)) return undefined;
    let dot = 0;
    for (let d = 0; d < width; d++) dot += at(q, [b, h, i, d]) * at(k, [b, keyHead, j, d]);
    let score = limited(range, scale * limited(range, dot));
    if (bias !== undefined) score = limited(range, score + at(bias, [b, h, i, j]));
    if (table !== undefined) score = limited(range, score + at(table, [bucketOf(problem, i, j), h]));
    return score === Number.NEGATIVE_INFINITY ? undefined : score;
  });
}

/** Valid keys beaten by fewer than `most` valid keys: by a larger score, or an equal one and a lower index. */
function keptOf(scores: readonly (number | undefined)[], most: number): number[] {
  const valid = scores.flatMap((score, j) => (score === undefined ? [] : [{ score, j }]));
  const isBeaten = (one: (typeof valid)[number], by: (typeof valid)[number]): boolean =>
    by.score > one.score || (by.score === one.score && by.j < one.j);
  if (valid.length <= most || valid.some(({ score }) => Number.isNaN(score))) return valid.map(({ j }) => j);
  const isKept = (one: (typeof valid)[number]): boolean => {
    let better = 0;
    for (const by of valid) if (isBeaten(one, by) && ++better === most) return false;
    return true;
  };
  return valid.filter(isKept).map(({ j }) => j);
}

/**
 * Softmax by definition: each exponential over their sum; or a sigmoid of each score. NaN wherever a score is NaN or +inf.
 */
function weightsOf({ sigmoidShift }: AttentionProblem, scores: readonly number[]): number[] {
  if (!scores.every((score) => score < Number.POSITIVE_INFINITY)) return scores.map(() => Number.NaN);
  if (sigmoidShift !== undefined)
    return scores.map((score) => (1 + Math.tanh((score + sigmoidShift) / 2)) / 2);
  const shift = Math.max(...scores);
  const sum = scores.reduce((total, score) => total + Math.exp(score - shift), 0);
  return scores.map((score) => Math.exp(score - shift) / sum);
}

function dropoutFactor(problem: AttentionProblem, { b, h, i }: Row, slot: number): number {
  if (problem.dropout === undefined || problem.dropout.rate === 0) return 1;
  const { rate, seed } = problem.dropout;
  const isDropped = philoxWord([b, h, i, slot], seed) >>> 0 < Math.floor(rate * 2 ** 32);
  return isDropped ? 0 : 1 / (1 - rate);
}

/** Sums at the coordinates of a shape; an extent of 1 collects its whole axis. */
class Gradient {
  readonly shape: readonly number[];
  readonly sums: number[];
  readonly isOpen: boolean[];

  constructor({ shape, data }: Nd) {
    this.shape = shape;
    this.sums = data.map(() => 0);
    this.isOpen = data.map(() => false);
  }

  #position(coordinates: readonly number[]): number {
    return this.shape.reduce(
      (position, extent, axis) => position * extent + (extent === 1 ? 0 : (coordinates[axis] as number)),
      0,
    );
  }

  add(coordinates: readonly number[], amount: number, isOpen = false): void {
    const position = this.#position(coordinates);
    this.sums[position] = (this.sums[position] as number) + amount;
    if (isOpen) this.isOpen[position] = true;
  }
}

/**
 * The answer by brute force in f64, one query at a time, from the contract alone and sharing no code with core: a key
 * is valid when it is visible and its score is above -inf; only kept keys take part in a row, in plain arithmetic, so
 * that their NaN and infinities go where multiplication and addition carry them. Gradients only with a cotangent.
 */
export function solve(problem: AttentionProblem, cotangent?: Nd, range: ScoreRange = 'f64'): Solution {
  const { q, k, v, bias, table, kept: most } = problem;
  const [batch = 0, heads = 0, queries = 0, width = 0] = q.shape;
  const [, keyHeads = 1, keys = 0] = k.shape;
  const columns = v.shape[3] ?? 0;
  const scale = problem.scale ?? width ** -0.5;
  const slots = most === 'all' ? 0 : Math.min(most, keys);
  const output: number[] = [];
  const indices: number[] = [];
  const keptScores: number[] = [];
  const gradients = {
    q: new Gradient(q),
    k: new Gradient(k),
    v: new Gradient(v),
    ...(bias && { bias: new Gradient(bias) }),
    ...(table && { table: new Gradient(table) }),
  };

  for (const { b, h, i } of rows(batch, heads, queries)) {
    const row = { b, h, i };
    const scores = scoresOf(problem, row, range);
    const hasNaN = scores.some((score) => score !== undefined && Number.isNaN(score));
    const kept = keptOf(scores, most === 'all' ? keys : most);
    const own = kept.map((j) => scores[j] as number);
    const weights = weightsOf(problem, own);
    const factors = kept.map((j, slot) => dropoutFactor(problem, row, most === 'all' ? j : slot));
    const keyHead = Math.floor(h / (heads / keyHeads));
    for (let d = 0; d < columns; d++) {
      const terms = kept.map(
        (j, n) => (weights[n] as number) * (factors[n] as number) * at(v, [b, keyHead, j, d]),
      );
      output.push(terms.reduce((sum, term) => sum + term, 0));
    }
    for (let slot = 0; slot < slots; slot++) {
      indices.push(kept[slot] ?? -1);
      keptScores.push(hasNaN ? Number.NaN : (own[slot] ?? Number.NEGATIVE_INFINITY));
    }
    if (cotangent === undefined) continue;

    // dP = m (dO . V), dS = P (dP - sum P dP), or P (1 - P) dP of a sigmoid; dV = P m dO, dQ = scale dS K, dK = scale dS Q.
    const dWeights = kept.map((j, n) => {
      let dot = 0;
      for (let d = 0; d < columns; d++) dot += at(cotangent, [b, h, i, d]) * at(v, [b, keyHead, j, d]);
      return (factors[n] as number) * dot;
    });
    const mean = dWeights.reduce((sum, dWeight, n) => sum + (weights[n] as number) * dWeight, 0);
    const isOpen = hasNaN && most !== 'all';
    kept.forEach((j, n) => {
      const weight = weights[n] as number;
      const dWeight = dWeights[n] as number;
      const dScore =
        problem.sigmoidShift === undefined ? weight * (dWeight - mean) : weight * (1 - weight) * dWeight;
      for (let d = 0; d < columns; d++) {
        const amount = weight * (factors[n] as number) * at(cotangent, [b, h, i, d]);
        gradients.v.add([b, keyHead, j, d], amount, isOpen);
      }
      for (let d = 0; d < width; d++) {
        gradients.q.add([b, h, i, d], scale * dScore * at(k, [b, keyHead, j, d]));
        gradients.k.add([b, keyHead, j, d], scale * dScore * at(q, [b, h, i, d]), isOpen);
      }
      gradients.bias?.add([b, h, i, j], dScore, isOpen);
      if (table !== undefined) gradients.table?.add([bucketOf(problem, i, j), h], dScore, isOpen);
    });
  }
  const made = cotangent === undefined ? [] : Object.entries(gradients);
  return {
    output,
    ...(most !== 'all' && { indices }),
    scores: keptScores,
    gradients: Object.fromEntries(made.map(([role, { sums }]) => [role, sums])),
    open: Object.fromEntries(made.map(([role, { isOpen }]) => [role, isOpen])),
  };
}

function rows(batch: number, heads: number, queries: number): Row[] {
  const all: Row[] = [];
  nd([batch, heads, queries], ([b = 0, h = 0, i = 0]) => all.push({ b, h, i }));
  return all;
}
