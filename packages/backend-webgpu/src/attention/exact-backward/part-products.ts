import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { chooseTogether, launchProduct } from '../../primitives/matmul-choose.js';
import type { Operand, Product } from '../../primitives/matmul-product.js';
import type { MatmulTile } from '../../primitives/matmul-tile.js';
import type { Binding } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { geometryOf, type Part, visibleKeys } from '../shared/geometry.js';
import { scoreStride } from '../shared/scores/scores-text.js';
import { buffersTogether, launchTogether } from './products-together.js';
import { copiesQueries, queryOperand, type RowOperand } from './row-operands.js';
import { recordUnusualGradients } from './unusual-gradients.js';

/** Where the gradients of a run of heads are summed, f32. */
export interface RunSums {
  readonly dQ: Binding;
  readonly dK: Binding;
  readonly dV: Binding;
}

/** What the products of a part read and write. */
export interface PartOperands {
  /** dS and the weights of the part: [heads, queries, stride]. */
  readonly slopes: Span;
  readonly weights: Span;
  /** Keys of the run, times the factor. */
  readonly keys: RowOperand;
  readonly q: View;
  /** The factor of q. */
  readonly factor: number;
  readonly dOutput: View;
  /** dO of the part. */
  readonly gradient: Binding;
  /** The list of the part's queries whose dO is not finite. */
  readonly unusual: Span;
  readonly sums: RunSums;
  /** Whether the sums of the keys' gradients hold those of other parts. */
  readonly adds: boolean;
}

/** The tile of a part's three products, if they share a launch. */
export function tileTogether(
  facts: DeviceFacts,
  request: AttentionRequest,
  part: Part,
): MatmulTile | undefined {
  const { heads, queries } = part;
  const { headDim, valueDim } = request;
  const isCopied = copiesQueries(request, queries);
  if (buffersTogether(isCopied) > facts.storageBuffers) return undefined;
  if (headDim % 4 !== 0 || valueDim % 4 !== 0) return undefined;
  const visible = visibleKeys(request, part);
  const group = groupSize(request);
  const ofKeys = { batch: heads / group, rows: visible, inner: group * queries };
  return chooseTogether(facts, [
    { batch: heads, rows: queries, inner: scoreStride(visible), columns: headDim },
    { ...ofKeys, columns: headDim },
    { ...ofKeys, columns: valueDim },
  ]);
}

/**
 * Records dQ = dS K of a part, and what it adds to dK = dS^T Q and dV = P^T dO, where dO is not finite too: in one launch
 * if that keeps a device as busy as a launch for each.
 */
export function recordPartProducts(
  stream: Stream,
  facts: DeviceFacts,
  request: AttentionRequest,
  part: Part,
  operands: PartOperands,
): void {
  const { q, dOutput, factor, gradient, unusual, weights, sums } = operands;
  const rows = {
    q: queryOperand(stream, request, q, part, factor),
    dOutput: queryOperand(stream, request, dOutput, part, 1),
  };
  const dK = toKeys(request, part, operands.slopes, rows.q, request.headDim, sums.dK, operands.adds);
  const dV = toKeys(request, part, weights, rows.dOutput, request.valueDim, sums.dV, operands.adds);
  const tile = tileTogether(facts, request, part);
  const geometry = geometryOf(request, part);
  const isHalf = request.dtype === 'f16';
  if (tile === undefined) {
    for (let member = 0; member < groupSize(request); member++) {
      launchProduct(stream, toQueries(request, part, operands, member));
    }
    launchProduct(stream, dK);
    launchProduct(stream, dV);
    const own = { row_fours: scoreStride(request.keyLength) / 4, width: request.valueDim };
    recordUnusualGradients(stream, isHalf, geometry, own, { weights, gradient, unusual, sums: sums.dV });
  } else {
    const isCopied = copiesQueries(request, part.queries);
    const given = isCopied ? { half: isHalf, gradient } : undefined;
    const dQ = toAllQueries(request, part, operands);
    launchTogether(stream, tile, geometry, { dQ, dK, dV }, unusual, given);
  }
  rows.q.release();
  rows.dOutput.release();
}

/** dQ of one query head of each group. */
function toQueries(
  request: AttentionRequest,
  part: Part,
  { slopes, keys, sums }: PartOperands,
  member: number,
): Product {
  const { queryLength, headDim, keyLength } = request;
  const { heads, queries, firstQuery } = part;
  const group = groupSize(request);
  const stride = scoreStride(keyLength);
  return {
    ...{ dtype: 'f32', transposeA: false, transposeB: false, batch: heads / group },
    // Keys of the products: whole fours; those beyond the last have weights of 0.
    ...{ rows: queries, inner: scoreStride(visibleKeys(request, part)), columns: headDim },
    a: matrices(slopes, group * queries * stride, stride, member * queries * stride),
    ...keys.operand,
    out: {
      span: sums.dQ.span,
      base: sums.dQ.base + (member * queryLength + firstQuery) * headDim,
      batchStep: group * queryLength * headDim,
      stride: headDim,
    },
  };
}

/** dQ of all query heads; the second operand still steps from group to group. */
function toAllQueries(request: AttentionRequest, part: Part, operands: PartOperands): Product {
  const ofFirst = toQueries(request, part, operands, 0);
  const group = groupSize(request);
  const { a, out } = ofFirst;
  return {
    ...{ ...ofFirst, batch: part.heads },
    a: { ...a, batchStep: a.batchStep / group },
    out: { ...out, batchStep: out.batchStep / group },
  };
}

/** The sums for the keys of a part's heads, over its queries. */
function toKeys(
  request: AttentionRequest,
  part: Part,
  of: Span,
  rows: RowOperand,
  width: number,
  out: Binding,
  adds: boolean,
): Product {
  const { keyLength } = request;
  const group = groupSize(request);
  const unitRows = group * part.queries;
  const stride = scoreStride(keyLength);
  return {
    ...{ dtype: 'f32', transposeA: true, transposeB: false, batch: part.heads / group },
    ...{ rows: visibleKeys(request, part), inner: unitRows, columns: width },
    a: matrices(of, unitRows * stride, stride),
    ...rows.operand,
    out: { span: out.span, base: out.base, batchStep: keyLength * width, stride: width },
    adds,
  };
}

function matrices(span: Span, batchStep: number, stride: number, base = 0): Operand {
  return { span, base, batchStep, stride };
}
