import { type ChosenAttention, mayMaskKeys, queryStartOf, scalesExactly } from '@topk-attention/core/backend';
import type { GraphInput } from '../../onnx/graph-builder.js';
import type { KeyRange } from '../selection.js';

/** Everything the graph of one query chunk depends on. */
export interface AttentionVariant {
  readonly request: ChosenAttention;
  /** Queries of a chunk; every chunk has as many. */
  readonly chunk: number;
  /**
   * How keys are passed: as the caller's rows, or transposed beforehand, which pays off from a few chunks on: the
   * engine packs a transposed operand again for every product (12 against 5 ms at 16 queries, 2.0 against 1.5 at 64).
   */
  readonly keys: 'rows' | 'columns';
  /**
   * How relative biases are passed: as a window made beforehand for all chunks or, where that would be large or the
   * table is not accessible, as buckets of relative positions that the graph looks up and spreads.
   */
  readonly positions: 'window' | 'buckets';
  /**
   * True when the quick graph is wrong for the values, or might be: NaN or infinite q, k or v, NaN or +inf biases, or products
   * that could overflow. The careful graph looks at every score.
   */
  readonly isCareful: boolean;
  /** False when v holds or may hold NaN or infinities, which must not come in from a key that a query does not see. */
  readonly areValuesFinite: boolean;
}

/** Transposing the keys costs about one chunk's product, and every chunk then saves a third of one. */
export const CHUNKS_WORTH_A_TRANSPOSE = 4;

/** Blocks for a k that leaves too few of the planned ones: worth it from twice k blocks on. */
const SMALL_BLOCK = 16;
const SMALL_BLOCK_KEYS = 2048;

/**
 * Size of the blocks of two-level selection; undefined where it would exclude nothing. A plan of one level means that
 * k blocks of the usual size cover most of the row; blocks of half the size still save 8 to 15 % of a chunk (k 64 at
 * 2,048 keys, k 256 at 8,192).
 */
export function blockSizeOf({ request }: Pick<AttentionVariant, 'request'>): number | undefined {
  const { k, keyLength, selection } = request;
  if (k === 'all') return undefined;
  if (selection.levels === 2) {
    return Math.floor(keyLength / selection.blockSize) > k ? selection.blockSize : undefined;
  }
  return keyLength >= SMALL_BLOCK_KEYS && 2 * k * SMALL_BLOCK <= keyLength ? SMALL_BLOCK : undefined;
}

/** Keys as ranges: blocks of equal size, and a last range of keys that fill no block. One range without blocks. */
export function keyRangesOf(variant: AttentionVariant): readonly KeyRange[] {
  const { keyLength } = variant.request;
  const blockSize = blockSizeOf(variant);
  if (blockSize === undefined) return [{ from: 0, to: keyLength }];
  const end = keyLength - (keyLength % blockSize);
  return [{ from: 0, to: end }, ...(end < keyLength ? [{ from: end, to: keyLength }] : [])];
}

/**
 * Where the scale is applied: to the queries where that rounds nothing (or no order depends on it) and does not
 * overflow, else after the selection, else to the scores.
 */
export function scalePlace({ request, isCareful }: AttentionVariant): 'queries' | 'kept' | 'scores' {
  const { scale, k } = request;
  const hasBias = request.bias !== undefined || request.relativeBias !== undefined;
  if (scalesExactly(scale)) return 'queries';
  // Queries may overflow when they are scaled, although no score does; then the graph is careful.
  if (k === 'all') return isCareful && Math.abs(scale) > 1 ? 'scores' : 'queries';
  // Scaled scores have the same order, and only k of them are left to scale.
  return scale > 0 && !hasBias ? 'kept' : 'scores';
}

/** The causal edge depends on key minus query, as the relative bias does: one more bucket of -inf expresses it. */
export function foldsCausality({ request, isCareful }: AttentionVariant): boolean {
  return request.causal && request.relativeBias !== undefined && !isCareful;
}

/**
 * Extra columns that let a window serve queries at any position among the keys: a decoder's steps then share one
 * window and one graph. None where the caller does not place queries, or places them after all keys.
 */
export function spareColumns({ keyLength, queryStart, relativeBias }: ChosenAttention): number {
  return relativeBias !== undefined && queryStart !== undefined && queryStart <= keyLength ? keyLength : 0;
}

/** Columns of the window of relative biases: every distance that some chunk meets. */
export function windowLength({ request, chunk }: AttentionVariant): number {
  return request.keyLength + request.queryLength - chunk + spareColumns(request);
}

/** Position of the query whose window begins with the first key: the last position at which a chunk begins. */
export function windowStart({ request, chunk }: AttentionVariant): number {
  return request.queryLength - chunk + (spareColumns(request) || queryStartOf(request));
}

/** True when some query may have fewer than k valid keys. Where the graph is not careful, a table of relative biases is finite. */
export function canMask({ request, isCareful }: AttentionVariant): boolean {
  return isCareful || mayMaskKeys(request);
}

/** Inputs of the chunk's graph, in the order of its feeds. */
export function graphInputs(variant: AttentionVariant): readonly GraphInput[] {
  const { request, chunk, keys } = variant;
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, k } = request;
  const inputs: GraphInput[] = [
    { name: 'q', type: 'f32', shape: [batch, queryHeads, queryLength, headDim] },
    { name: 'v', type: 'f32', shape: [batch, keyHeads, keyLength, valueDim] },
    { name: 'start', type: 'i64', shape: [1] },
    { name: 'end', type: 'i64', shape: [1] },
  ];
  if (keys === 'rows') inputs.push({ name: 'k', type: 'f32', shape: [batch, keyHeads, keyLength, headDim] });
  else {
    for (const [index, { from, to }] of keyRangesOf(variant).entries()) {
      inputs.push({ name: `k${index}`, type: 'f32', shape: [batch * keyHeads, headDim, to - from] });
    }
  }
  if (request.mask !== undefined) inputs.push({ name: 'mask', type: 'bool', shape: request.mask });
  if (request.keyLengths) inputs.push({ name: 'keyLengths', type: 'i32', shape: [batch] });
  if (request.bias !== undefined) inputs.push({ name: 'bias', type: 'f32', shape: request.bias });
  if (request.relativeBias !== undefined) {
    if (variant.positions === 'window') {
      inputs.push({ name: 'window', type: 'f32', shape: [queryHeads, chunk, windowLength(variant)] });
      inputs.push({ name: 'shift', type: 'i64', shape: [1] });
    } else {
      inputs.push({ name: 'table', type: 'f32', shape: [request.relativeBias.buckets, queryHeads] });
      inputs.push({ name: 'buckets', type: 'i32', shape: [keyLength + chunk] });
    }
  }
  if (request.causal && !foldsCausality(variant)) inputs.push({ name: 'last', type: 'i32', shape: [1] });
  if (request.dropout !== undefined && k !== 'all') {
    inputs.push({ name: 'dropout', type: 'f32', shape: [batch * queryHeads * chunk, k] });
  }
  return inputs;
}

/** Equal for equal graphs. Dropout's rate and seed are passed as factors, and query positions as inputs. */
export function keyOf(variant: AttentionVariant): string {
  const { dropout, queryStart: _, ...request } = variant.request;
  const spare = spareColumns(variant.request);
  return `attention ${JSON.stringify({ ...variant, request: { ...request, dropout: dropout !== undefined, spare } })}`;
}
