import { numbers } from '../../../tooling/scripts/bench-helpers.mjs';
import type { Tf, TfTensor } from './engines.js';

/** Self-attention of one sequence, or a part of its queries: q and dO [1, H, queries, D], k and v [1, H, length, D]. */
export interface Setup {
  readonly length: number;
  readonly queries: number;
  readonly heads: number;
  readonly dim: number;
  readonly k: number;
}

/** What is worked on at once: queries of all heads, or of one head after the other. */
export interface Tile {
  readonly heads: number;
  readonly queries: number;
}

export interface Arrays {
  readonly setup: Setup;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  readonly dOutput: Float32Array;
}

export interface Inputs {
  readonly setup: Setup;
  readonly q: TfTensor;
  readonly k: TfTensor;
  readonly v: TfTensor;
  readonly dOutput: TfTensor;
  /** Kept keys and their scores, [1, H, queries, k]: of all queries, for backward passes. */
  readonly indices?: TfTensor;
  readonly scores?: TfTensor;
}

export function arraysOf(setup: Setup): Arrays {
  const { length, queries, heads, dim } = setup;
  return {
    setup,
    q: numbers(heads * queries * dim, 1),
    k: numbers(heads * length * dim, 2),
    v: numbers(heads * length * dim, 3),
    dOutput: numbers(heads * queries * dim, 4),
  };
}

export function inputsOf(tf: Tf, { setup, q, k, v, dOutput }: Arrays): Inputs {
  const { length, queries, heads, dim } = setup;
  return {
    setup,
    q: tf.tensor(q, [1, heads, queries, dim]),
    k: tf.tensor(k, [1, heads, length, dim]),
    v: tf.tensor(v, [1, heads, length, dim]),
    dOutput: tf.tensor(dOutput, [1, heads, queries, dim]),
  };
}

/** The first queries alone; keys and values are shared. `disposeQueries` frees what it made. */
export function firstQueries(tf: Tf, inputs: Inputs, queries: number): Inputs {
  const first = (x: TfTensor): TfTensor =>
    tf.slice(x, [0, 0, 0, 0], [1, inputs.setup.heads, queries, x.shape[3] as number]);
  const { indices, scores } = inputs;
  return {
    ...inputs,
    setup: { ...inputs.setup, queries },
    q: first(inputs.q),
    dOutput: first(inputs.dOutput),
    ...(indices && { indices: first(indices) }),
    ...(scores && { scores: first(scores) }),
  };
}

export function disposeQueries({ q, dOutput, indices, scores }: Inputs): void {
  for (const one of [q, dOutput, indices, scores]) one?.dispose();
}

/** Lists of random keys, for what only depends on their number: ascending, each once. */
export function withRandomLists(tf: Tf, inputs: Inputs): Inputs {
  const { length, queries, heads, k } = inputs.setup;
  const rows = heads * queries;
  const indices = new Int32Array(rows * k);
  const gap = Math.floor(length / k);
  for (let row = 0; row < rows; row++) {
    for (let slot = 0; slot < k; slot++) {
      indices[row * k + slot] = slot * gap + ((Math.imul(row * k + slot, 2654435761) >>> 8) % gap);
    }
  }
  const shape = [1, heads, queries, k];
  return {
    ...inputs,
    indices: tf.tensor(indices, shape, 'int32'),
    scores: tf.tensor(numbers(rows * k, 5), shape),
  };
}
