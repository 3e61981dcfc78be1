import { commonBackend } from '../apply.js';
import type { AttentionInputs, Backend } from '../backend.js';
import { describeValue } from '../describe-value.js';
import { isFloat } from '../dtype.js';
import { TopKError } from '../errors.js';
import { checkLimits } from '../plan/check-limits.js';
import { chooseSelection } from '../plan/plan-attention.js';
import type { AttentionRequest } from '../plan/request.js';
import {
  aBoolean,
  aNumber,
  anArray,
  aTensor,
  checkedLater,
  type OptionKinds,
  optionsWithin,
  required,
} from '../read-options.js';
import { requireTensor } from '../require-tensor.js';
import { formatShape, type Shape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { checkBuckets } from './relative-bias.js';

export interface AttentionOptions {
  /** Multiplies the dot products. Default: headDim ** -0.5. T5 uses 1. */
  readonly scale?: number;
  /** Key j is visible to query i when j <= i + Lk - Lq (aligned to the end). Default false. */
  readonly causal?: boolean;
  /** bool, each dim 1 or that of [B, Hq, Lq, Lk]; true = keep. */
  readonly mask?: Tensor;
  /** i32 [B]: keys from this index on are hidden. */
  readonly keyLengths?: Tensor;
  /** float, each dim 1 or that of [B, Hq, Lq, Lk], added to the scaled scores; -inf hides a key. Differentiable. */
  readonly bias?: Tensor;
  /**
   * T5's learned bias by relative position, computed per chunk from its [buckets, Hq] table: at least 4 buckets and a
   * maxDistance above a quarter of them, one-sided 2 and a half. Differentiable.
   */
  readonly relativeBias?: {
    readonly table: Tensor;
    readonly bidirectional: boolean;
    readonly maxDistance: number;
  };
  /** Drops softmax weights with probability `rate`, keyed by (seed, batch, head, query, slot). Default: none. */
  readonly dropout?: { readonly rate: number; readonly seed: number };
  /** Queries at a time. Default: planned. */
  readonly queryChunk?: number;
  /** Upper bound in bytes for all but the inputs; planned before anything is allocated. Default: none. */
  readonly budgetBytes?: number;
}

export interface TopKAttentionOptions extends AttentionOptions {
  /** Keys kept per query; more than there are keeps them all. */
  readonly k: number;
  /** Also return the kept key indices. Default false. */
  readonly returnIndices?: boolean;
}

/** Shapes alone: what planning and `explain` need. */
export interface AttentionShapes {
  /** [B, Hq, Lq, D] */
  readonly q: Shape;
  /** [B, Hkv, Lk, D]; Hq is a multiple of Hkv */
  readonly k: Shape;
  /** [B, Hkv, Lk, Dv] */
  readonly v: Shape;
}

export const attentionKinds: OptionKinds<AttentionOptions> = {
  scale: aNumber,
  causal: aBoolean,
  mask: aTensor,
  keyLengths: aTensor,
  bias: aTensor,
  relativeBias: optionsWithin({
    table: required(aTensor),
    bidirectional: required(aBoolean),
    maxDistance: required(aNumber),
  }),
  dropout: optionsWithin({ rate: required(aNumber), seed: required(aNumber) }),
  queryChunk: aNumber,
  budgetBytes: aNumber,
};

export const topKKinds: OptionKinds<TopKAttentionOptions> = {
  k: checkedLater(),
  returnIndices: aBoolean,
  ...attentionKinds,
};

export const shapeKinds: OptionKinds<AttentionShapes> = {
  q: required(anArray()),
  k: required(anArray()),
  v: required(anArray()),
};

/** The tensors of a call by role. */
export type AttentionTensors = AttentionInputs<Tensor>;

/** The same roles with each value replaced, in a fixed order. */
export function mapInputs<A, B>(inputs: AttentionInputs<A>, replace: (one: A) => B): AttentionInputs<B> {
  const { q, k, v, mask, keyLengths, bias, relativeTable } = inputs;
  return {
    q: replace(q),
    k: replace(k),
    v: replace(v),
    ...(mask !== undefined && { mask: replace(mask) }),
    ...(keyLengths !== undefined && { keyLengths: replace(keyLengths) }),
    ...(bias !== undefined && { bias: replace(bias) }),
    ...(relativeTable !== undefined && { relativeTable: replace(relativeTable) }),
  };
}

export interface AttentionCall {
  readonly backend: Backend;
  readonly tensors: AttentionTensors;
  /** Without `saves`: that depends on whether somebody wants the lists. */
  readonly request: AttentionRequest;
}

/** Checks everything about a call and gathers it as data. */
export function checkCall(
  where: string,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
  kept: number | 'all',
): AttentionCall {
  const { mask, keyLengths, bias, relativeBias } = options;
  for (const [name, one] of Object.entries({ q, k, v })) requireTensor(where, name, one);
  const present = [q, k, v, mask, keyLengths, bias, relativeBias?.table].filter((one) => one !== undefined);
  const backend = commonBackend(where, present);
  for (const [name, one] of Object.entries({ q, k, v })) {
    if (isFloat(one.dtype) && one.dtype === q.dtype) continue;
    throw new TopKError('DTYPE_MISMATCH', `${where}: ${name} has the wrong dtype`, {
      expected: 'f32 or f16, the same for q, k and v',
      got: one.dtype,
    });
  }
  const request = attentionRequest(where, q, options, { q: q.shape, k: k.shape, v: v.shape }, kept, backend);
  return {
    backend,
    request,
    tensors: {
      q,
      k,
      v,
      ...(mask && { mask }),
      ...(keyLengths && { keyLengths }),
      ...(bias && { bias }),
      ...(relativeBias && { relativeTable: relativeBias.table }),
    },
  };
}

/** The request of a call, from shapes and options, checked. */
export function attentionRequest(
  where: string,
  q: { readonly dtype: Tensor['dtype'] },
  options: AttentionOptions,
  shapes: AttentionShapes,
  kept: number | 'all',
  backend: Backend,
): AttentionRequest {
  const [batch, queryHeads, queryLength, headDim] = rank4(where, 'q', shapes.q);
  const [batchK, keyHeads, keyLength, headDimK] = rank4(where, 'k', shapes.k);
  const [batchV, headsV, lengthV, valueDim] = rank4(where, 'v', shapes.v);
  if (queryLength === 0 || keyLength === 0) {
    throw new TopKError('EMPTY_SEQUENCE', `${where}: empty sequence`, {
      expected: 'at least one query and one key',
      got: `${queryLength} queries, ${keyLength} keys`,
    });
  }
  for (const [what, extent] of [
    ['query heads', queryHeads],
    ['key heads', keyHeads],
    ['head dimension', headDim],
    ['value dimension', valueDim],
  ] as const) {
    if (extent > 0) continue;
    throw new TopKError('SHAPE_MISMATCH', `${where}: no ${what}`, {
      expected: 'heads and dimensions of at least 1; only the batch may be 0',
      got: describeShapes(shapes),
    });
  }
  const isFit =
    batchK === batch &&
    batchV === batch &&
    headsV === keyHeads &&
    lengthV === keyLength &&
    headDimK === headDim;
  if (!isFit || queryHeads % keyHeads !== 0) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: q, k and v do not fit`, {
      expected: 'q [B, Hq, Lq, D], k [B, Hkv, Lk, D], v [B, Hkv, Lk, Dv], Hq a multiple of Hkv',
      got: describeShapes(shapes),
    });
  }
  const { dropout, scale = headDim ** -0.5, mask, bias, relativeBias } = options;
  checkLimits(where, 'queryChunk', options.queryChunk, options.budgetBytes);
  if (!Number.isFinite(scale)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad scale`, {
      expected: 'a finite number',
      got: String(scale),
    });
  }
  if (dropout !== undefined) checkDropout(where, dropout);
  const k = kept === 'all' ? 'all' : clampK(where, kept, keyLength);
  const request: AttentionRequest = {
    batch,
    queryHeads,
    keyHeads,
    queryLength,
    keyLength,
    headDim,
    valueDim,
    dtype: q.dtype === 'f16' ? 'f16' : 'f32',
    k,
    scale,
    causal: options.causal ?? false,
    ...(mask && { mask: mask.shape }),
    keyLengths: options.keyLengths !== undefined,
    ...(bias && { bias: bias.shape }),
    ...(relativeBias && {
      relativeBias: {
        bidirectional: relativeBias.bidirectional,
        maxDistance: relativeBias.maxDistance,
        buckets: relativeBias.table.shape[0] ?? 0,
      },
    }),
    ...(dropout && dropout.rate > 0 && { dropout }),
    selection: chooseSelection(k, keyLength, backend.capabilities.limits),
    saves: false,
  };
  checkExtras(where, request, options);
  return request;
}

function describeShapes({ q, k, v }: AttentionShapes): string {
  return `q ${formatShape(q)}, k ${formatShape(k)}, v ${formatShape(v)}`;
}

/** k as a positive whole number of at most `available`; more keeps them all. */
export function clampK(where: string, k: number, available: number): number {
  if (Number.isInteger(k) && k > 0) return Math.min(k, available);
  throw new TopKError('INVALID_K', `${where}: bad k`, {
    expected: 'a positive whole number',
    got: describeValue(k),
    fix:
      where === 'topKAttention' ? 'Use exactAttention for all keys' : 'Use k = hidden units for all of them',
  });
}

function checkExtras(where: string, request: AttentionRequest, options: AttentionOptions): void {
  const { batch, queryHeads, queryLength, keyLength } = request;
  const full = [batch, queryHeads, queryLength, keyLength];
  for (const [name, one, dtype] of [
    ['mask', options.mask, 'bool'],
    ['bias', options.bias, 'f32'],
  ] as const) {
    if (one === undefined) continue;
    if (one.rank !== 4 || one.shape.some((extent, axis) => extent !== 1 && extent !== full[axis])) {
      throw new TopKError('SHAPE_MISMATCH', `${where}: ${name} does not fit`, {
        expected: `each dim 1 or that of ${formatShape(full)}`,
        got: formatShape(one.shape),
      });
    }
    if (one.dtype !== dtype) {
      throw new TopKError('DTYPE_MISMATCH', `${where}: ${name} has the wrong dtype`, {
        expected: dtype,
        got: one.dtype,
      });
    }
  }
  const { keyLengths, relativeBias } = options;
  if (
    keyLengths !== undefined &&
    (keyLengths.dtype !== 'i32' || keyLengths.rank !== 1 || keyLengths.shape[0] !== batch)
  ) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: keyLengths does not fit`, {
      expected: `i32 [${batch}]`,
      got: `${keyLengths.dtype} ${formatShape(keyLengths.shape)}`,
    });
  }
  if (relativeBias === undefined) return;
  const { table } = relativeBias;
  if (table.dtype !== 'f32' || table.rank !== 2 || table.shape[1] !== queryHeads) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: relativeBias.table does not fit`, {
      expected: `f32 [buckets, ${queryHeads}]`,
      got: `${table.dtype} ${formatShape(table.shape)}`,
    });
  }
  checkBuckets(where, { ...relativeBias, buckets: table.shape[0] ?? 0 });
}

function checkDropout(where: string, dropout: { readonly rate: number; readonly seed: number }): void {
  const { rate, seed } = dropout;
  if (rate >= 0 && rate < 1 && Number.isSafeInteger(seed) && seed >= 0) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad dropout`, {
    expected: 'a rate from 0 to below 1 and a whole seed from 0 to 2^53 - 1',
    got: `rate ${rate}, seed ${seed}`,
  });
}

function rank4(where: string, name: string, shape: Shape): [number, number, number, number] {
  const [a, b, c, d] = shape;
  if (shape.length === 4 && a !== undefined && b !== undefined && c !== undefined && d !== undefined) {
    return [a, b, c, d];
  }
  throw new TopKError('RANK_MISMATCH', `${where}: ${name} has the wrong rank`, {
    expected: '4: [batch, heads, length, dim]',
    got: formatShape(shape),
  });
}
