import type { AttentionOutputs } from '../backend.js';
import { isFloat } from '../dtype.js';
import { abs, cast, logicalNot, lt, mul, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { maxOver } from '../ops/reduce.js';
import { gatherRows, softmax } from '../ops/select.js';
import type { AttentionRequest } from '../plan/request.js';
import { scope } from '../scope.js';
import type { Tensor } from '../tensor.js';
import { dropoutFactors } from './dropout.js';
import { mapQueryChunks } from './map-query-chunks.js';
import type { AttentionTensors } from './options.js';
import { chunkScores, foldQueries, type ScoreInputs, setNaNAside, withKeyPositions } from './scores.js';
import { selectTopK } from './selection.js';

/** Attention from primitives, chunk by chunk: what runs where a backend has no fused version (paper section 1.2). */
export function composedAttention(
  request: AttentionRequest,
  inputs: AttentionTensors,
  queryChunk: number,
): AttentionOutputs<Tensor> {
  const { backend } = inputs.q;
  const tensors = withKeyPositions(request, inputs);
  const run = (body: (start: number, size: number) => readonly Tensor[]): readonly Tensor[] =>
    mapQueryChunks(backend, request.queryLength, queryChunk, body);
  if (request.k === 'all') {
    const values = maskableValues(request, tensors.v);
    const [output] = run((start, size) => [exactChunk(request, tensors, values, start, size)]);
    values.finite.dispose();
    values.badRows?.dispose();
    tensors.keyPositions?.dispose();
    return { output: output as Tensor };
  }
  const k = request.k;
  const [output, indices, scores] = run((start, size) => {
    const chunk = topKChunk(request, tensors, k, start, size);
    return request.saves ? [chunk.output, chunk.indices, chunk.scores] : [chunk.output];
  });
  tensors.keyPositions?.dispose();
  return { output: output as Tensor, ...(indices && { indices }), ...(scores && { scores }) };
}

function topKChunk(
  request: AttentionRequest,
  tensors: ScoreInputs,
  k: number,
  start: number,
  size: number,
): { output: Tensor; indices: Tensor; scores: Tensor } {
  const { batch, queryHeads, valueDim } = request;
  return scope(() => {
    const { kept, hadNaN } = scope(() => {
      const all = chunkScores(request, tensors, start, size);
      const { finite, hadNaN } = setNaNAside(all);
      all.dispose();
      return { kept: selectTopK(finite, k, request.selection), hadNaN };
    });
    const scores = where(hadNaN, Number.NaN, kept.values);
    let weights = softmax(scores);
    if (request.dropout !== undefined) {
      weights = mul(weights, dropoutFactors(weights.backend, request.dropout, weights.shape, start));
    }
    const rows = gatherKeyRows(request, tensors.v, kept.indices);
    const sums = matmul(reshape(cast(weights, rows.dtype), [-1, 1, k]), rows);
    return { output: reshape(sums, [batch, queryHeads, size, valueDim]), indices: kept.indices, scores };
  });
}

/** Rows of keys or values for kept indices [B, Hq, size, k]: [B * Hq * size, k, width], zeros for index -1. */
export function gatherKeyRows(request: AttentionRequest, x: Tensor, indices: Tensor): Tensor {
  const { batch, keyHeads, keyLength } = request;
  const width = x.shape.at(-1) as number;
  const k = indices.shape.at(-1) as number;
  return scope(() => {
    const perKeyHead = reshape(indices, [batch * keyHeads, -1]);
    return reshape(gatherRows(reshape(x, [batch * keyHeads, keyLength, width]), perKeyHead), [-1, k, width]);
  });
}

/** Rows of keys or values made safe for products in which masked keys take part with weight zero. */
export interface MaskableRows {
  /** x with every NaN and infinity replaced by 0, or x itself where nothing is masked. */
  readonly finite: Tensor;
  /** [B, Hkv, Lk, 1], 1 where the row held one; absent where nothing is masked. */
  readonly badRows?: Tensor;
}

/**
 * A key that is not valid never influences a result, even if its rows hold NaN: but in a dense product it takes part
 * with weight 0, and 0 * NaN is NaN. So such rows are zeroed, and queries that do see one are marked.
 */
export function maskableValues(request: AttentionRequest, x: Tensor): MaskableRows {
  const isMasked =
    request.causal || request.keyLengths || request.mask !== undefined || request.bias !== undefined;
  if (!isMasked || !isFloat(x.dtype)) return { finite: x.alias() };
  return scope(() => {
    const finite = finiteElements(x);
    const badRows = scope(() => maxOver(cast(logicalNot(finite), x.dtype), { axes: [-1], keepDims: true }));
    return { finite: where(finite, x, 0), badRows };
  });
}

/** bool: false for NaN and infinities. */
export function finiteElements(x: Tensor): Tensor {
  // Strictly below infinity: no largest finite number of any storage type to know.
  return scope(() => lt(abs(x), Number.POSITIVE_INFINITY));
}

function exactChunk(
  request: AttentionRequest,
  tensors: ScoreInputs,
  values: MaskableRows,
  start: number,
  size: number,
): Tensor {
  const { batch, queryHeads, valueDim } = request;
  return scope(() => {
    const weights = scope(() => {
      const scores = chunkScores(request, tensors, start, size);
      const whole = softmax(scores);
      scores.dispose();
      const { dropout } = request;
      if (dropout === undefined) return whole;
      return mul(whole, dropoutFactors(whole.backend, dropout, whole.shape, start));
    });
    const folded = foldQueries(request, cast(weights, values.finite.dtype));
    const shape = [batch, queryHeads, size, valueDim];
    const output = reshape(matmul(folded, values.finite), shape);
    if (values.badRows === undefined) return output;
    const seen = reshape(lt(0, matmul(folded, values.badRows)), [batch, queryHeads, size, 1]);
    return where(seen, Number.NaN, output);
  });
}
