import type { AttentionInputs, AttentionRequest } from '../contract/attention.js';
import { checkDropping } from '../contract/dropout.js';
import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { checkBuckets } from '../contract/relative-buckets.js';
import { formatShape, type Shape } from '../contract/shape.js';
import { checkLimits } from '../operation/check-limits.js';
import { noteSeed } from '../recording/used-seeds.js';
import { clampK } from '../selection/clamp-k.js';
import { commonBackend, type OutputSpec } from '../tensor/apply.js';
import { requireTensor } from '../tensor/require-tensor.js';
import type { Tensor } from '../tensor/tensor.js';
import { checkBroadcast, checkKeyLengths } from './check-keys.js';
import type { ExactAttentionOptions } from './options.js';

/** The fix for a k that is not a number of keys. */
export const ALL_KEYS = 'Use exactAttention to keep all keys';

/** The tensors of a call by role. */
export type AttentionTensors = AttentionInputs<Tensor>;

/** Shape and dtype of each role, which is all a request needs. Tensors have both. */
type AttentionSpecs = AttentionInputs<OutputSpec>;

/** The options that are numbers or words. */
interface PlainOptions
  extends Pick<
    ExactAttentionOptions,
    'scale' | 'causal' | 'queryStart' | 'dropout' | 'queryChunk' | 'budgetBytes' | 'sigmoidShift'
  > {
  readonly relativeBias?: { readonly bidirectional: boolean; readonly maxDistance: number };
}

interface AttentionCall {
  readonly tensors: AttentionTensors;
  /** Without `saves`, which depends on whether anyone wants the lists. */
  readonly request: AttentionRequest;
}

/** Checks everything about a call and collects it as data. */
export function checkCall(
  where: string,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: ExactAttentionOptions,
  kept: number | 'all',
): AttentionCall {
  const { mask, keyLengths, bias, relativeBias } = options;
  for (const [name, one] of Object.entries({ q, k, v })) requireTensor(where, name, one);
  const tensors: AttentionTensors = {
    q,
    k,
    v,
    ...(mask && { mask }),
    ...(keyLengths && { keyLengths }),
    ...(bias && { bias }),
    ...(relativeBias && { relativeTable: relativeBias.table }),
  };
  commonBackend(where, Object.values(tensors));
  return { tensors, request: attentionRequest(where, tensors, options, kept) };
}

/** The checked request of a call, from shapes and options. */
export function attentionRequest(
  where: string,
  specs: AttentionSpecs,
  options: PlainOptions,
  kept: number | 'all',
): AttentionRequest {
  const { q, mask, bias, relativeTable } = specs;
  const dtype = checkFloats(where, { q, k: specs.k, v: specs.v });
  const extents = extentsOf(where, specs);
  const { dropout, scale = extents.headDim ** -0.5, relativeBias, sigmoidShift } = options;
  checkLimits(where, 'queryChunk', options.queryChunk, options.budgetBytes);
  checkScale(where, scale);
  checkShift(where, sigmoidShift, kept);
  if (dropout !== undefined) checkDropping(where, dropout);
  if (dropout !== undefined && dropout.rate > 0) noteSeed(dropout.seed);
  const queryStart = queryStartFor(where, options, extents);
  const buckets = relativeTable?.shape[0] ?? 0;
  const request: AttentionRequest = {
    ...extents,
    dtype,
    k: kept === 'all' ? 'all' : clampK(where, kept, extents.keyLength, ALL_KEYS),
    scale,
    ...(sigmoidShift !== undefined && { sigmoidShift }),
    causal: options.causal ?? false,
    ...queryStart,
    ...(mask && { mask: mask.shape }),
    keyLengths: specs.keyLengths !== undefined,
    ...(bias && { bias: bias.shape }),
    ...(relativeBias && {
      relativeBias: {
        bidirectional: relativeBias.bidirectional,
        maxDistance: relativeBias.maxDistance,
        buckets,
      },
    }),
    ...(dropout && dropout.rate > 0 && { dropout }),
    saves: false,
  };
  checkExtras(where, request, specs);
  return request;
}

export type Extents = Pick<
  AttentionRequest,
  'batch' | 'queryHeads' | 'keyHeads' | 'queryLength' | 'keyLength' | 'headDim' | 'valueDim'
>;

/** The storage type that all of the tensors have. */
export function checkFloats(where: string, specs: Readonly<Record<string, OutputSpec>>): 'f32' | 'f16' {
  const names = Object.keys(specs);
  const common = specs[names[0] as string]?.dtype;
  for (const [name, { dtype }] of Object.entries(specs)) {
    if (isFloat(dtype) && dtype === common) continue;
    throw new TopKError('DTYPE_MISMATCH', `${where}: ${name} has the wrong dtype`, {
      expected: `f32 or f16, the same for ${names.slice(0, -1).join(', ')} and ${names.at(-1)}`,
      got: dtype,
    });
  }
  return common === 'f16' ? 'f16' : 'f32';
}

export function checkScale(where: string, scale: number): void {
  if (Number.isFinite(scale)) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad scale`, {
    expected: 'a finite number',
    got: String(scale),
  });
}

function checkShift(where: string, shift: number | undefined, kept: number | 'all'): void {
  if (shift === undefined) return;
  if (kept !== 'all') {
    throw new TopKError('INVALID_OPTION', `${where}: sigmoidShift with k`, {
      expected: 'one of the two',
      got: 'both',
      fix: ALL_KEYS,
    });
  }
  if (Number.isFinite(shift)) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad sigmoidShift`, {
    expected: 'a finite number',
    got: String(shift),
  });
}

/** The extents of q, k and v, checked. */
export function extentsOf(where: string, { q, k, v }: Pick<AttentionSpecs, 'q' | 'k' | 'v'>): Extents {
  const [batch, queryHeads, queryLength, headDim] = rank4(where, 'q', q.shape);
  const [batchK, keyHeads, keyLength, headDimK] = rank4(where, 'k', k.shape);
  const [batchV, headsV, lengthV, valueDim] = rank4(where, 'v', v.shape);
  const got = (): string => `q ${formatShape(q.shape)}, k ${formatShape(k.shape)}, v ${formatShape(v.shape)}`;
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
      got: got(),
    });
  }
  const isFit =
    batchK === batch &&
    batchV === batch &&
    headsV === keyHeads &&
    lengthV === keyLength &&
    headDimK === headDim;
  if (!isFit || queryHeads % keyHeads !== 0) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: q, k and v have incompatible shapes`, {
      expected: 'q [B, Hq, Lq, D], k [B, Hkv, Lk, D], v [B, Hkv, Lk, Dv], Hq a multiple of Hkv',
      got: got(),
    });
  }
  return { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim };
}

/**
 * The option as requests hold it: left out where it has no effect, and clamped where a larger value changes nothing.
 * After the last key all keys are visible, and keys `maxDistance` or more before a query share one bucket.
 */
export function queryStartFor(
  where: string,
  { queryStart, causal, relativeBias }: Pick<PlainOptions, 'queryStart' | 'causal' | 'relativeBias'>,
  { keyLength }: Extents,
): Pick<AttentionRequest, 'queryStart'> {
  if (queryStart === undefined) return {};
  if (!Number.isSafeInteger(queryStart) || queryStart < 0) {
    throw new TopKError('INVALID_OPTION', `${where}: bad queryStart`, {
      expected: 'a whole number from 0 to 2^53 - 1, the position of the first query among the keys',
      got: String(queryStart),
    });
  }
  if (!causal && relativeBias === undefined) return {};
  return { queryStart: Math.min(queryStart, keyLength + (relativeBias?.maxDistance ?? 0)) };
}

function checkExtras(where: string, request: AttentionRequest, specs: AttentionSpecs): void {
  const { batch, queryHeads, queryLength, keyLength, relativeBias } = request;
  const full = [batch, queryHeads, queryLength, keyLength];
  checkBroadcast(where, 'mask', specs.mask, 'bool', full);
  checkBroadcast(where, 'bias', specs.bias, 'f32', full);
  checkKeyLengths(where, specs.keyLengths, batch);
  const { relativeTable: table } = specs;
  if (table === undefined || relativeBias === undefined) return;
  if (table.dtype !== 'f32' || table.shape.length !== 2 || table.shape[1] !== queryHeads) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: relativeBias.table has the wrong dtype or shape`, {
      expected: `f32 [buckets, ${queryHeads}]`,
      got: `${table.dtype} ${formatShape(table.shape)}`,
    });
  }
  checkBuckets(where, relativeBias);
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
