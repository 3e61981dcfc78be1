import { groupSize } from '@topk-attention/core/backend';
import { CONTRIB } from '../../onnx/contrib.js';
import type { GraphBuilder } from '../../onnx/graph-builder.js';
import type { KeyRange, ScoreRange } from '../selection.js';
import { type AttentionVariant, foldsCausality, keyRangesOf, scalePlace } from './variant.js';

const MINUS_INFINITY = Number.NEGATIVE_INFINITY;

/** Operators that a graph may use: those of the standard alone, or those of ONNX Runtime too. */
export type OperatorDomain = 'standard' | 'onnxruntime';

/**
 * Scores [B * Hq * chunk, n] of a chunk, range by range: q k + biases, -inf for keys that are not valid. The standard
 * has no product with a transposed operand: with it, keys passed as rows are transposed first, which copies them.
 */
export function emitScores(
  onnx: GraphBuilder,
  variant: AttentionVariant,
  domain: OperatorDomain = 'onnxruntime',
): readonly ScoreRange[] {
  const queries = emitQueries(onnx, variant);
  const toeplitz = emitToeplitz(onnx, variant);
  const { batch, queryHeads } = variant.request;
  const { chunk } = variant;
  return keyRangesOf(variant).map((range, index) => {
    const size = range.to - range.from;
    let scores = emitProduct(onnx, variant, domain, queries, range, index);
    const terms = emitBiases(onnx, variant, range, toeplitz);
    const valid = emitValid(onnx, variant, range);
    if (terms.length > 0 || valid !== undefined) {
      scores = onnx.reshape(scores, [batch, queryHeads, chunk, size]);
      for (const term of terms) scores = onnx.op('Add', [scores, term]);
      if (valid !== undefined) scores = emitMasked(onnx, variant, scores, valid);
    }
    return { ...range, scores: onnx.reshape(scores, [batch * queryHeads * chunk, size]) };
  });
}

/** [B * Hkv, G * chunk, D]: the chunk's queries, heads that share keys folded into rows. */
function emitQueries(onnx: GraphBuilder, variant: AttentionVariant): string {
  const { request, chunk } = variant;
  const { batch, queryHeads, keyHeads, queryLength, headDim, scale } = request;
  const shape = [batch, queryHeads, chunk, headDim];
  const part = chunk === queryLength ? 'q' : onnx.op('Slice', ['q', 'start', 'end', onnx.i64([2])]);
  if (part !== 'q') onnx.declare(part, 'f32', shape);
  const scaled =
    scalePlace(variant) === 'queries' && scale !== 1 ? onnx.op('Mul', [part, onnx.f32(scale)]) : part;
  return onnx.reshape(scaled, [batch * keyHeads, groupSize(request) * chunk, headDim]);
}

function emitProduct(
  onnx: GraphBuilder,
  variant: AttentionVariant,
  domain: OperatorDomain,
  queries: string,
  { from, to }: KeyRange,
  index: number,
): string {
  const { batch, keyHeads, keyLength, headDim, scale } = variant.request;
  let product: string;
  if (variant.keys === 'columns') {
    product = onnx.op('MatMul', [queries, `k${index}`]);
  } else {
    const rows = onnx.reshape('k', [batch * keyHeads, keyLength, headDim]);
    const part =
      to - from === keyLength
        ? rows
        : onnx.op('Slice', [rows, onnx.i64([from]), onnx.i64([to]), onnx.i64([1])]);
    product =
      domain === 'standard'
        ? onnx.op('MatMul', [queries, onnx.op('Transpose', [part], { perm: [0, 2, 1] })])
        : onnx.op('FusedMatMul', [queries, part], { transB: 1 }, CONTRIB.domain);
  }
  return scalePlace(variant) === 'scores' ? onnx.op('Mul', [product, onnx.f32(scale)]) : product;
}

/** Terms to add to the scores [B, Hq, chunk, n] of a range. */
function emitBiases(
  onnx: GraphBuilder,
  variant: AttentionVariant,
  { from, to }: KeyRange,
  toeplitz: string | undefined,
): readonly string[] {
  const { request, chunk } = variant;
  const terms: string[] = [];
  if (request.bias !== undefined) terms.push(emitPart(onnx, variant, 'bias', request.bias, { from, to }));
  if (variant.positions === 'window' && request.relativeBias !== undefined) {
    const bounds = [from, to].map((at) => onnx.op('Add', ['shift', onnx.i64([at])])) as [string, string];
    const part = onnx.op('Slice', ['window', ...bounds, onnx.i64([2])]);
    onnx.declare(part, 'f32', [request.queryHeads, chunk, to - from]);
    terms.push(onnx.reshape(part, [1, request.queryHeads, chunk, to - from]));
  }
  if (toeplitz !== undefined) {
    const shift = chunk - 1;
    const part = onnx.op('Slice', [
      toeplitz,
      onnx.i64([from + shift]),
      onnx.i64([to + shift]),
      onnx.i64([2]),
    ]);
    terms.push(onnx.reshape(part, [1, request.queryHeads, chunk, to - from]));
  }
  return terms;
}

/** The part of a mask or bias for the chunk's queries and the range's keys. */
function emitPart(
  onnx: GraphBuilder,
  variant: AttentionVariant,
  name: 'mask' | 'bias',
  shape: readonly number[],
  { from, to }: KeyRange,
): string {
  const { keyLength, queryLength } = variant.request;
  let part: string = name;
  const type = name === 'mask' ? 'bool' : 'f32';
  if (shape[2] !== 1 && variant.chunk !== queryLength) {
    part = onnx.op('Slice', [part, 'start', 'end', onnx.i64([2])]);
    onnx.declare(part, type, [shape[0] as number, shape[1] as number, variant.chunk, shape[3] as number]);
  }
  if (shape[3] === 1 || to - from === keyLength) return part;
  return onnx.op('Slice', [part, onnx.i64([from]), onnx.i64([to]), onnx.i64([3])]);
}

/**
 * [Hq, chunk, Lk + chunk - 1]: row c is the vector of biases by relative position, moved right by c, so that key j
 * stands at column j + chunk - 1. Made by repeating a vector of period P and reading it with period P - 1: three
 * plain copies where a gather would look up every entry.
 */
function emitToeplitz(onnx: GraphBuilder, variant: AttentionVariant): string | undefined {
  const { queryHeads, keyLength, relativeBias } = variant.request;
  const { chunk } = variant;
  if (relativeBias === undefined || variant.positions === 'window') return undefined;
  let table = onnx.op('Transpose', ['table'], { perm: [1, 0] });
  if (foldsCausality(variant)) {
    table = onnx.op('Concat', [table, onnx.filled(onnx.f32(MINUS_INFINITY), [queryHeads, 1])], { axis: 1 });
  }
  const period = keyLength + chunk;
  const vector = onnx.reshape(onnx.op('Gather', [table, 'buckets'], { axis: 1 }), [queryHeads, 1, period]);
  const repeated = onnx.reshape(onnx.filled(vector, [queryHeads, chunk, period]), [
    queryHeads,
    chunk * period,
  ]);
  const length = chunk * (period - 1);
  const cut = onnx.op('Slice', [repeated, onnx.i64([0]), onnx.i64([length]), onnx.i64([1])]);
  return onnx.reshape(cut, [queryHeads, chunk, period - 1]);
}

interface ValidKeys {
  /** bool, broadcastable to [B, Hq, chunk, n] */
  readonly condition: string;
  /** True when the condition is as large as the scores. */
  readonly isFull: boolean;
}

function emitValid(onnx: GraphBuilder, variant: AttentionVariant, range: KeyRange): ValidKeys | undefined {
  const { request, chunk } = variant;
  const { batch, queryHeads, queryLength, mask } = request;
  const conditions: string[] = [];
  const positions = onnx.op('Range', [onnx.i32(range.from), onnx.i32(range.to), onnx.i32(1)]);
  if (request.keyLengths) {
    conditions.push(onnx.op('Less', [positions, onnx.reshape('keyLengths', [batch, 1, 1, 1])]));
  }
  if (request.causal && !foldsCausality(variant)) {
    const queries = onnx.op('Range', [onnx.i32(0), onnx.i32(chunk), onnx.i32(1)]);
    const lastVisible = onnx.reshape(onnx.op('Add', [queries, 'last']), [1, 1, chunk, 1]);
    conditions.push(onnx.op('LessOrEqual', [positions, lastVisible]));
  }
  if (mask !== undefined) conditions.push(emitPart(onnx, variant, 'mask', mask, range));
  const [first, ...rest] = conditions;
  if (first === undefined) return undefined;
  const isFull =
    mask !== undefined &&
    mask[0] === batch &&
    mask[1] === queryHeads &&
    mask[2] === queryLength &&
    mask[3] !== 1;
  return { condition: rest.reduce((all, one) => onnx.op('And', [all, one]), first), isFull };
}

/** Adding 0 or -inf to finite scores is three times as fast in this engine as a `Where`. */
function emitMasked(
  onnx: GraphBuilder,
  variant: AttentionVariant,
  scores: string,
  { condition, isFull }: ValidKeys,
): string {
  const minusInfinity = onnx.f32(MINUS_INFINITY);
  if (variant.isCareful || isFull) return onnx.op('Where', [condition, scores, minusInfinity]);
  return onnx.op('Add', [scores, onnx.op('Where', [condition, onnx.f32(0), minusInfinity])]);
}
