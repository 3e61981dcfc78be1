import { type Backend, type GraphAttentionOptions, graphAttention, type Tensor } from '@topk-attention/core';
import { differentiate, type Ran } from '../../../harness/support/differentiate.js';
import { at, type Nd, nd } from '../../../harness/support/nd.js';

/** A call of attention over a graph with its numbers. */
export interface GraphProblem {
  readonly q: Nd;
  readonly k: Nd;
  readonly v: Nd;
  /** [B, Hq, Lq, M], the first three each 1 or full */
  readonly graph: Nd;
  /** [B, Lk] or [1, Lk] */
  readonly keyMask?: Nd;
  readonly keyLengths?: Nd;
  readonly bias?: Nd;
  readonly options?: Pick<GraphAttentionOptions, 'scale' | 'causal' | 'queryStart' | 'queryChunk'>;
}

export const graphRoles = ['q', 'k', 'v', 'bias'] as const;
type GraphRole = (typeof graphRoles)[number];
export type GraphAnswer = Ran<GraphRole>;

/** [B, Hq, Lq, Dv] */
export const outputShape = ({ q, v }: GraphProblem): number[] => [...q.shape.slice(0, 3), v.shape[3] ?? 0];

/** Core's operation on a backend. */
export function run(
  backend: Backend,
  problem: GraphProblem,
  cotangent?: Nd,
  storage: 'f32' | 'f16' = 'f32',
): Promise<GraphAnswer> {
  const { q, k, v, bias, graph, keyMask, keyLengths, options } = problem;
  return differentiate<GraphRole>(
    backend,
    { q, k, v, ...(bias && { bias }) },
    (by, up) =>
      graphAttention(by.q as Tensor, by.k as Tensor, by.v as Tensor, up(graph, 'i32'), {
        ...options,
        ...(keyMask && { keyMask: up(keyMask, 'bool') }),
        ...(keyLengths && { keyLengths: up(keyLengths, 'i32') }),
        ...(by.bias && { bias: by.bias }),
      }),
    cotangent,
    storage,
    ['bias'],
  );
}

/** Rows of dense attention: a weight for every key, zero where the graph has no edge. */
interface Row {
  readonly weights: readonly number[];
  /** Per key: the slot that counts, or -1. */
  readonly slots: readonly number[];
  /** Whether an entry lies outside of the keys. */
  readonly isBad: boolean;
}

function rowOf(problem: GraphProblem, b: number, h: number, i: number, round: (x: number) => number): Row {
  const { q, k, graph, keyMask, keyLengths, bias, options = {} } = problem;
  const [, , queries = 0, width = 0] = q.shape;
  const [, keyHeads = 1, keys = 0] = k.shape;
  const { scale = width ** -0.5, causal = false, queryStart = keys - queries } = options;
  const group = Math.floor((h * keyHeads) / (q.shape[1] as number));
  const entries = Array.from({ length: graph.shape[3] as number }, (_, slot) => at(graph, [b, h, i, slot]));
  const slots = Array.from({ length: keys }, (_, key) => {
    const hidden =
      (causal && key > i + queryStart) ||
      (keyLengths !== undefined && key >= at(keyLengths, [b])) ||
      (keyMask !== undefined && at(keyMask, [b, key]) === 0);
    return hidden ? -1 : entries.indexOf(key);
  });
  const scores = slots.map((slot, key) => {
    if (slot < 0) return Number.NEGATIVE_INFINITY;
    let dot = 0;
    for (let d = 0; d < width; d++) dot += at(q, [b, h, i, d]) * at(k, [b, group, key, d]);
    const score = round(round(scale) * round(dot));
    return bias === undefined ? score : round(score + at(bias, [b, h, i, slot]));
  });
  const isBad = entries.some((key) => key < -1 || key >= keys);
  const most = isBad ? Number.NaN : Math.max(...scores);
  const exps = scores.map((score) => (score === Number.NEGATIVE_INFINITY ? 0 : Math.exp(score - most)));
  const total = exps.reduce((sum, one) => sum + one, 0);
  const isEmpty = !isBad && scores.every((score) => score === Number.NEGATIVE_INFINITY);
  return {
    weights: exps.map((one) => (isEmpty ? 0 : one / total)),
    slots: slots.map((slot, key) => (scores[key] === Number.NEGATIVE_INFINITY ? -1 : slot)),
    isBad,
  };
}

/** Dense attention under a matrix of edges, in f64, with its gradients: what the operation must equal. */
export function solve(
  problem: GraphProblem,
  cotangent?: Nd,
  floatStorage: 'f32' | 'f64' = 'f32',
): GraphAnswer {
  const { q, k, v, bias, options = {} } = problem;
  const round = floatStorage === 'f32' ? Math.fround : (x: number): number => x;
  const [batch = 0, heads = 0, queries = 0, width = 0] = q.shape;
  const keyHeads = k.shape[1] as number;
  const valueDim = v.shape[3] as number;
  const { scale = width ** -0.5 } = options;
  const output: number[] = [];
  const sums = {
    q: nd(q.shape, () => 0).data.slice(),
    k: nd(k.shape, () => 0).data.slice(),
    v: nd(v.shape, () => 0).data.slice(),
    bias: bias ? nd(bias.shape, () => 0).data.slice() : [],
  };
  const add = (role: GraphRole, shape: readonly number[], place: readonly number[], value: number): void => {
    const offset = shape.reduce(
      (sum, extent, axis) => sum * extent + (extent === 1 ? 0 : (place[axis] ?? 0)),
      0,
    );
    sums[role][offset] = (sums[role][offset] as number) + value;
  };
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const group = Math.floor((h * keyHeads) / heads);
      for (let i = 0; i < queries; i++) {
        const { weights, slots, isBad } = rowOf(problem, b, h, i, round);
        const seen = slots.flatMap((slot, key) =>
          slot < 0 ? [] : [{ slot, key, weight: weights[key] as number }],
        );
        for (let d = 0; d < valueDim; d++) {
          const sum = seen.reduce((all, { key, weight }) => all + weight * at(v, [b, group, key, d]), 0);
          output.push(isBad ? Number.NaN : sum);
        }
        if (cotangent === undefined) continue;
        const g = (d: number): number => at(cotangent, [b, h, i, d]);
        const along = seen.map(({ key }) => {
          let dot = 0;
          for (let d = 0; d < valueDim; d++) dot += g(d) * at(v, [b, group, key, d]);
          return dot;
        });
        const mean = seen.reduce((all, { weight }, n) => all + weight * (along[n] as number), 0);
        seen.forEach(({ slot, key, weight }, n) => {
          const dScore = weight * ((along[n] as number) - mean);
          for (let d = 0; d < valueDim; d++) add('v', v.shape, [b, group, key, d], weight * g(d));
          for (let d = 0; d < width; d++) {
            add('q', q.shape, [b, h, i, d], scale * dScore * at(k, [b, group, key, d]));
            add('k', k.shape, [b, group, key, d], scale * dScore * at(q, [b, h, i, d]));
          }
          if (bias) add('bias', bias.shape, [b, h, i, slot], dScore);
        });
        if (isBad) for (let d = 0; d < width; d++) add('q', q.shape, [b, h, i, d], Number.NaN);
      }
    }
  }
  const { bias: dBias, ...others } = sums;
  const gradients = cotangent === undefined ? {} : { ...others, ...(bias && { bias: dBias }) };
  return { output, gradients };
}
