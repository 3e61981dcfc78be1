import { availableParallelism } from 'node:os';
import { numbers } from '../../../tooling/scripts/bench-helpers.mjs';

/** The shape that every figure here is for. */
export const HEADS = 12;
export const HEAD_DIM = 64;

/** Self-attention of one sequence: keys, values and queries in [1, 12, L, 64]. */
export interface Setup {
  readonly length: number;
  readonly k: number;
  readonly chunk: number;
  readonly threads: number;
}

export const DEFAULT_THREADS: number = Math.min(2, availableParallelism());

export interface Data {
  readonly length: number;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

export function dataOf(length: number): Data {
  const count = HEADS * length * HEAD_DIM;
  return { length, q: numbers(count, 1), k: numbers(count, 2), v: numbers(count, 3) };
}

/** Queries of several chunks, head by head: [12, chunks * chunk, 64]. */
export function queriesOf({ q, length }: Data, starts: readonly number[], chunk: number): Float32Array {
  const rows = starts.length * chunk;
  const result = new Float32Array(HEADS * rows * HEAD_DIM);
  for (let head = 0; head < HEADS; head++) {
    for (const [index, start] of starts.entries()) {
      const from = (head * length + start) * HEAD_DIM;
      result.set(q.subarray(from, from + chunk * HEAD_DIM), (head * rows + index * chunk) * HEAD_DIM);
    }
  }
  return result;
}

/** First queries of `count` chunks, evenly spread over the sequence. */
export function spread(length: number, chunk: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) =>
    count === 1 ? 0 : Math.floor((index * (length - chunk)) / (count - 1)),
  );
}
