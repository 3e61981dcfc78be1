import {
  type AttentionOptions,
  type Backend,
  exactAttention,
  type Shape,
  type Tensor,
  topKAttention,
} from '@topk-attention/core';
import { differentiate } from '../../harness/support/differentiate.js';
import type { Nd } from '../../harness/support/nd.js';
import { decode } from '../../harness/support/workbench.js';

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
  /** Sigmoids in place of softmax, with kept 'all'. */
  readonly sigmoidShift?: number;
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
  const { q, k, v, bias, table, mask, keyLengths, kept, sigmoidShift } = problem;
  let indices: Tensor | undefined;
  const answer = await differentiate<GradientRole>(
    backend,
    { q, k, v, ...(bias && { bias }), ...(table && { table }) },
    (inputs, up) => {
      const options = optionsOf(problem, {
        ...inputs,
        ...(mask && { mask: up(mask, 'bool') }),
        ...(keyLengths && { keyLengths: up(keyLengths, 'i32') }),
      });
      const [queries, keys, values] = [inputs.q, inputs.k, inputs.v] as [Tensor, Tensor, Tensor];
      if (kept === 'all') {
        const shift = sigmoidShift !== undefined && { sigmoidShift };
        return exactAttention(queries, keys, values, { ...options, ...shift });
      }
      if (cotangent !== undefined) return topKAttention(queries, keys, values, { ...options, k: kept });
      const made = topKAttention(queries, keys, values, { ...options, k: kept, returnIndices: true });
      indices = made.indices;
      return made.output;
    },
    cotangent,
    storage,
    ['bias', 'table'],
  );
  if (indices === undefined) return answer;
  try {
    return { ...answer, indices: decode(await indices.data(), 'i32') };
  } finally {
    indices.dispose();
  }
}
