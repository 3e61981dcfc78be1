import { uniform } from '../generation/sampling.js';
import type { Interruption } from '../interruption.js';

/** Unit vectors in groups. */
export interface Grouping {
  /** The group of each row. */
  readonly groups: Int32Array;
  /** Of each group: the direction of the sum of its rows, of length 1. */
  readonly centers: readonly Float64Array[];
  /** The cosine of each row and its center. */
  readonly cosines: Float64Array;
}

/**
 * Spherical k-means (Dhillon and Modha 2001): each unit row goes to the center with the largest cosine, each center to the
 * direction of the sum of its rows, until no row moves. Centers begin with rows that are drawn one after the other, each with
 * a probability of its distance to the nearest one so far, 1 - cosine (k-means++).
 *
 * @param rows of length 1, at least `count` of them
 */
export async function sphericalKMeans(
  rows: readonly Float64Array[],
  count: number,
  seed: number,
  passes: number,
  interruption: Interruption,
): Promise<Grouping> {
  const centers = await firstCenters(rows, count, seed, interruption);
  const groups = new Int32Array(rows.length).fill(-1);
  const cosines = new Float64Array(rows.length);
  for (let pass = 0; ; pass++) {
    const moved = await assign(rows, centers, groups, cosines, interruption);
    if (!moved || pass === passes) return { groups, centers, cosines };
    recenter(rows, centers, groups, cosines);
  }
}

async function firstCenters(
  rows: readonly Float64Array[],
  count: number,
  seed: number,
  interruption: Interruption,
): Promise<Float64Array[]> {
  const first = Math.floor(uniform(seed, 0, 0) * rows.length);
  const centers = [Float64Array.from(rows[first] as Float64Array)];
  const distances = new Float64Array(rows.length).fill(Number.POSITIVE_INFINITY);
  while (centers.length < count) {
    const last = centers.at(-1) as Float64Array;
    let total = 0;
    for (const [at, row] of rows.entries()) {
      distances[at] = Math.min(distances[at] as number, Math.max(0, 1 - dot(row, last)));
      total += distances[at] as number;
    }
    const chosen = drawn(distances, total * uniform(seed, 0, centers.length));
    centers.push(Float64Array.from(rows[chosen] as Float64Array));
    await interruption.yieldToEvents();
  }
  return centers;
}

/** The place in whose part of [0, total) the number falls. */
function drawn(shares: Float64Array, at: number): number {
  let before = 0;
  let last = 0;
  for (const [place, share] of shares.entries()) {
    if (share === 0) continue;
    last = place;
    before += share;
    if (at < before) return place;
  }
  return last;
}

/** Whether a row has moved. */
async function assign(
  rows: readonly Float64Array[],
  centers: readonly Float64Array[],
  groups: Int32Array,
  cosines: Float64Array,
  interruption: Interruption,
): Promise<boolean> {
  let isMoved = false;
  for (const [at, row] of rows.entries()) {
    let [best, most] = [0, Number.NEGATIVE_INFINITY];
    for (const [group, center] of centers.entries()) {
      const cosine = dot(row, center);
      if (cosine > most) [best, most] = [group, cosine];
    }
    isMoved ||= groups[at] !== best;
    groups[at] = best;
    cosines[at] = most;
    await interruption.yieldToEvents();
  }
  return isMoved;
}

/** Moves the centers. One without rows goes to the row that is farthest from its own. */
function recenter(
  rows: readonly Float64Array[],
  centers: Float64Array[],
  groups: Int32Array,
  cosines: Float64Array,
): void {
  const sums = centers.map(({ length }) => new Float64Array(length));
  const sizes = new Int32Array(centers.length);
  for (const [at, row] of rows.entries()) {
    const group = groups[at] as number;
    const sum = sums[group] as Float64Array;
    for (let d = 0; d < row.length; d++) sum[d] = (sum[d] as number) + (row[d] as number);
    sizes[group] = (sizes[group] as number) + 1;
  }
  const left = cosines.slice();
  for (const [group, sum] of sums.entries()) {
    if (sizes[group] === 0) {
      const farthest = left.indexOf(left.reduce((least, cosine) => Math.min(least, cosine)));
      left[farthest] = Number.POSITIVE_INFINITY;
      centers[group] = Float64Array.from(rows[farthest] as Float64Array);
    } else centers[group] = unit(sum) ?? (centers[group] as Float64Array);
  }
}

/** The vector at length 1; undefined for one of zeros. */
export function unit(vector: Float64Array): Float64Array | undefined {
  const length = Math.sqrt(dot(vector, vector));
  return length > 0 ? vector.map((x) => x / length) : undefined;
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let d = 0; d < a.length; d++) sum += (a[d] as number) * (b[d] as number);
  return sum;
}
