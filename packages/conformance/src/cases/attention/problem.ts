import {
  type AttentionOptions,
  type Backend,
  exactAttention,
  pullback,
  type Shape,
  type Tensor,
  tensor,
  topKAttention,
} from '@topk-attention/core';
import { check } from '../../harness/support/assert.js';
import type { Nd } from '../../harness/support/nd.js';
import { decode, encode } from '../../harness/support/workbench.js';

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
  /** Position of the first query among the keys. Default: Lk - Lq. */
  readonly queryStart?: number;
  readonly dropout?: { readonly rate: number; readonly seed: number };
  readonly queryChunk?: number;
}

/** Inputs that have gradients, in the order of the problem's names. */
export const gradientRoles = ['q', 'k', 'v', 'bias', 'table'] as const;
export type GradientRole = (typeof gradientRoles)[number];

export interface AttentionAnswer {
  readonly output: readonly number[];
  /** [B, Hq, Lq, min(kept, Lk)]; absent for exact attention. */
  readonly indices?: readonly number[];
  readonly gradients: Partial<Record<GradientRole, readonly number[]>>;
}

/** Slots of the lists of kept keys: min(kept, Lk). */
export function slotsOf({ k, kept }: AttentionProblem): number {
  const keys = k.shape[2] as number;
  return kept === 'all' ? keys : Math.min(kept, keys);
}

/** [B, Hq, Lq, Dv] */
export function outputShape({ q, v }: AttentionProblem): Shape {
  return [...q.shape.slice(0, 3), v.shape[3] ?? 0];
}

type Uploaded = { readonly [Role in GradientRole]?: Tensor } & {
  readonly mask?: Tensor;
  readonly keyLengths?: Tensor;
};

function optionsOf(problem: AttentionProblem, uploaded: Uploaded): AttentionOptions {
  const { scale, causal, queryStart, dropout, queryChunk, relative } = problem;
  const { mask, keyLengths, bias, table } = uploaded;
  return {
    ...(scale !== undefined && { scale }),
    ...(causal !== undefined && { causal }),
    ...(queryStart !== undefined && { queryStart }),
    ...(dropout && { dropout }),
    ...(queryChunk !== undefined && { queryChunk }),
    ...(mask && { mask }),
    ...(keyLengths && { keyLengths }),
    ...(bias && { bias }),
    ...(table && relative && { relativeBias: { table, ...relative } }),
  };
}

/**
 * Core's layer on a backend: output and kept keys or, with a cotangent, output and gradients. Leaves nothing behind.
 * `storage` is that of q, k, v and the output.
 */
export async function run(
  backend: Backend,
  problem: AttentionProblem,
  cotangent?: Nd,
  storage: 'f32' | 'f16' = 'f32',
): Promise<AttentionAnswer> {
  const tensors: Tensor[] = [];
  const up = (x: Nd, dtype: 'f32' | 'f16' | 'bool' | 'i32' = 'f32'): Tensor => {
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
      q: up(problem.q, storage),
      k: up(problem.k, storage),
      v: up(problem.v, storage),
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
    const upstream = up(cotangent, storage);
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
