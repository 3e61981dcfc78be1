import {
  type AttentionOptions,
  type AttentionRequest,
  type Backend,
  exactAttention,
  pullback,
  type Shape,
  type Tensor,
  tensor,
  topKAttention,
} from '@topk-attention/core';
import {
  type AttentionArrays,
  referenceAttention,
  referenceAttentionBackward,
} from '@topk-attention/core/reference';
import { check } from '../support/assert.js';
import type { Nd } from '../support/nd.js';
import { decode, encode } from '../support/workbench.js';

/** An attention call with its numbers. Shapes follow from the arrays. */
export interface AttentionProblem {
  readonly q: Nd;
  readonly k: Nd;
  readonly v: Nd;
  readonly mask?: Nd;
  readonly keyLengths?: Nd;
  readonly bias?: Nd;
  /** [buckets, Hq] */
  readonly table?: Nd;
  /** Needed with a table. */
  readonly relative?: { readonly bidirectional: boolean; readonly maxDistance: number };
  /** Kept keys, or 'all' for exact attention. */
  readonly kept: number | 'all';
  readonly scale?: number;
  readonly causal?: boolean;
  readonly dropout?: { readonly rate: number; readonly seed: number };
  readonly queryChunk?: number;
}

/** Inputs that have gradients, in the order of the problem's names. */
export const gradientRoles = ['q', 'k', 'v', 'bias', 'table'] as const;
type GradientRole = (typeof gradientRoles)[number];

export interface AttentionAnswer {
  readonly output: readonly number[];
  /** [B, Hq, Lq, min(kept, Lk)]; absent for exact attention. */
  readonly indices?: readonly number[];
  readonly gradients: Partial<Record<GradientRole, readonly number[]>>;
}

/** The problem as core's own data type, written apart from core's. */
export function requestOf(problem: AttentionProblem): AttentionRequest {
  const { q, k, v, mask, bias, table, relative, kept } = problem;
  const [batch = 0, queryHeads = 0, queryLength = 0, headDim = 0] = q.shape;
  const [, keyHeads = 0, keyLength = 0] = k.shape;
  return {
    batch,
    queryHeads,
    keyHeads,
    queryLength,
    keyLength,
    headDim,
    valueDim: v.shape[3] ?? 0,
    dtype: 'f32',
    k: kept === 'all' ? 'all' : Math.min(kept, keyLength),
    scale: problem.scale ?? 1 / Math.sqrt(headDim),
    causal: problem.causal ?? false,
    ...(mask && { mask: mask.shape }),
    keyLengths: problem.keyLengths !== undefined,
    ...(bias && { bias: bias.shape }),
    ...(table && relative && { relativeBias: { ...relative, buckets: table.shape[0] ?? 0 } }),
    ...(problem.dropout && { dropout: problem.dropout }),
    selection: { levels: 1 },
    saves: true,
  };
}

/** [B, Hq, Lq, Dv] */
export function outputShape({ q, v }: AttentionProblem): Shape {
  return [...q.shape.slice(0, 3), v.shape[3] ?? 0];
}

function arraysOf(problem: AttentionProblem): AttentionArrays {
  const { q, k, v, mask, keyLengths, bias, table } = problem;
  const numbers = (x: Nd): Float64Array => Float64Array.from(x.data);
  return {
    q: numbers(q),
    k: numbers(k),
    v: numbers(v),
    ...(mask && { mask: numbers(mask) }),
    ...(keyLengths && { keyLengths: numbers(keyLengths) }),
    ...(bias && { bias: numbers(bias) }),
    ...(table && { relativeTable: numbers(table) }),
  };
}

/** What the oracle says: brute force in f64, one query at a time. Gradients only with a cotangent. */
export function solve(
  problem: AttentionProblem,
  cotangent?: Nd,
): AttentionAnswer & { readonly scores: Float64Array } {
  const request = requestOf(problem);
  const arrays = arraysOf(problem);
  const { output, indices, scores } = referenceAttention(request, arrays);
  const gradients: AttentionAnswer['gradients'] = {};
  if (cotangent !== undefined) {
    const all = referenceAttentionBackward(request, arrays, Float64Array.from(cotangent.data));
    Object.assign(gradients, { q: [...all.q], k: [...all.k], v: [...all.v] });
    if (problem.bias) Object.assign(gradients, { bias: [...all.bias] });
    if (problem.table) Object.assign(gradients, { table: [...all.relativeTable] });
  }
  return {
    output: [...output],
    ...(problem.kept !== 'all' && { indices: [...indices] }),
    gradients,
    scores,
  };
}

type Uploaded = { readonly [Role in GradientRole]?: Tensor } & {
  readonly mask?: Tensor;
  readonly keyLengths?: Tensor;
};

function optionsOf(problem: AttentionProblem, uploaded: Uploaded): AttentionOptions {
  const { scale, causal, dropout, queryChunk, relative } = problem;
  const { mask, keyLengths, bias, table } = uploaded;
  return {
    ...(scale !== undefined && { scale }),
    ...(causal !== undefined && { causal }),
    ...(dropout && { dropout }),
    ...(queryChunk !== undefined && { queryChunk }),
    ...(mask && { mask }),
    ...(keyLengths && { keyLengths }),
    ...(bias && { bias }),
    ...(table && relative && { relativeBias: { table, ...relative } }),
  };
}

/** Core's layer on a backend: output and kept keys, or with a cotangent output and gradients. Leaves nothing behind. */
export async function run(
  backend: Backend,
  problem: AttentionProblem,
  cotangent?: Nd,
): Promise<AttentionAnswer> {
  const tensors: Tensor[] = [];
  const up = (x: Nd, dtype: 'f32' | 'bool' | 'i32' = 'f32'): Tensor => {
    const made = tensor(backend, encode(x.data, dtype), x.shape, dtype);
    tensors.push(made);
    return made;
  };
  const read = async (x: Tensor): Promise<number[]> => {
    tensors.push(x);
    return decode(await x.data(), x.dtype);
  };
  try {
    const parameters = {
      q: up(problem.q),
      k: up(problem.k),
      v: up(problem.v),
      ...(problem.bias && { bias: up(problem.bias) }),
      ...(problem.table && { table: up(problem.table) }),
    };
    const constants = {
      ...(problem.mask && { mask: up(problem.mask, 'bool') }),
      ...(problem.keyLengths && { keyLengths: up(problem.keyLengths, 'i32') }),
    };
    const { kept } = problem;
    if (cotangent === undefined && kept !== 'all') {
      const { q, k, v } = parameters;
      const options = { ...optionsOf(problem, { ...parameters, ...constants }), k: kept };
      const { output, indices } = topKAttention(q, k, v, { ...options, returnIndices: true });
      return { output: await read(output), indices: await read(indices), gradients: {} };
    }
    const forward = (p: typeof parameters): Tensor => {
      const options = optionsOf(problem, { ...p, ...constants });
      if (kept === 'all') return exactAttention(p.q, p.k, p.v, options);
      return topKAttention(p.q, p.k, p.v, { ...options, k: kept });
    };
    if (cotangent === undefined) return { output: await read(forward(parameters)), gradients: {} };
    const pulled = pullback((p: typeof parameters) => forward(p), parameters);
    const upstream = up(cotangent);
    const made = pulled.backward(upstream);
    const output = await read(pulled.output);
    const gradients: AttentionAnswer['gradients'] = {};
    for (const role of gradientRoles) {
      const gradient = made[role];
      if (gradient === undefined) continue;
      const input = problem[role];
      check(
        gradient.shape.join() === input?.shape.join(),
        `the gradient of ${role} has shape [${gradient.shape}], ${role} has [${input?.shape}]`,
      );
      gradients[role] = await read(gradient);
    }
    pulled.dispose();
    return { output, gradients };
  } finally {
    for (const one of tensors) one.dispose();
  }
}
