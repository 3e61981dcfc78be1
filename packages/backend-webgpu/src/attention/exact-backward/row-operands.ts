import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import type { Operand, Product } from '../../primitives/matmul-product.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { keyWindow, type Part, queryWindow } from '../shared/geometry.js';
import { scoreStride } from '../shared/scores/scores-text.js';
import { recordSafeRows } from './safe-rows.js';

/**
 * Rows of q, k or dO as the second operand of a product, times a factor, with 0 for every NaN and infinity: in a product, a
 * NaN would add NaN even with a weight of 0.
 */
export interface RowOperand {
  readonly operand: Pick<Product, 'b' | 'safeFactor'>;
  /** Ends the operand's use. */
  release(): void;
}

/** Whether a product needs a copy of the keys: it reads f32, in whole fours of rows. */
export function copiesKeys({ dtype, keyLength }: AttentionRequest): boolean {
  return dtype === 'f16' || keyLength % 4 !== 0;
}

/** Whether a product needs copies of queries: it reads f32, and the queries of a group's heads without gaps. */
export function copiesQueries(request: AttentionRequest, queries: number): boolean {
  return request.dtype === 'f16' || (groupSize(request) > 1 && queries < request.queryLength);
}

/** The keys of a part's heads. A copy ends with rows of zeros, up to whole fours. */
export function keyOperand(
  stream: Stream,
  request: AttentionRequest,
  k: View,
  part: Part,
  factor: number,
): RowOperand {
  const { keyLength, headDim: width, dtype } = request;
  const found = keyWindow(k, request, part);
  const unitStep = keyLength * width;
  if (!copiesKeys(request)) return inPlace({ ...found, batchStep: unitStep, stride: width }, factor);
  const units = part.heads / groupSize(request);
  const stride = scoreStride(keyLength);
  const rows = { ...found, half: dtype === 'f16', unitStep, units, rows: keyLength, width };
  const span = recordSafeRows(stream, rows, stride, factor);
  const b: Operand = { span, base: 0, batchStep: stride * width, stride: width };
  return { operand: { b }, release: () => stream.release(span) };
}

/** A part's rows of q or dO. */
export function queryOperand(
  stream: Stream,
  request: AttentionRequest,
  view: View,
  part: Part,
  factor: number,
): RowOperand {
  const { queryLength, dtype } = request;
  const { heads, queries } = part;
  const width = view.shape[3] as number;
  const group = groupSize(request);
  const found = queryWindow(view, request, part);
  const unitStep = queryLength * width;
  if (!copiesQueries(request, queries)) {
    return inPlace({ ...found, batchStep: group * unitStep, stride: width }, factor);
  }
  const rows = { ...found, half: dtype === 'f16', unitStep, units: heads, rows: queries, width };
  const span = recordSafeRows(stream, rows, queries, factor);
  const b: Operand = { span, base: 0, batchStep: group * queries * width, stride: width };
  return { operand: { b }, release: () => stream.release(span) };
}

function inPlace(b: Operand, safeFactor: number): RowOperand {
  return { operand: { b, safeFactor }, release() {} };
}
