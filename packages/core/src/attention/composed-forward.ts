import type { AttentionOutputs } from '../contract/attention.js';
import type { ChosenAttention } from '../contract/choices.js';
import { cast, mul, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { softmax } from '../ops/select.js';
import { setNaNAside } from '../selection/nan-rows.js';
import { selectTopK } from '../selection/select-top-k.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { exactChunk, exactValues } from './composed-exact.js';
import { dropoutFactors } from './dropout.js';
import { gatherKeyRows } from './gather-key-rows.js';
import { mapQueryChunks } from './map-query-chunks.js';
import type { AttentionTensors } from './request.js';
import { chunkScores, type ScoreInputs, scoreInputs } from './scores.js';

/** Attention from primitives, chunk by chunk: runs where a backend has no fused version (paper section 1.2). */
export function composedAttention(
  request: ChosenAttention,
  inputs: AttentionTensors,
  queryChunk: number,
): AttentionOutputs<Tensor> {
  const { backend } = inputs.q;
  const { k, dtype } = request;
  return scope(() => {
    const tensors = scoreInputs(request, inputs);
    const run = (body: (start: number, size: number) => readonly Tensor[]): readonly Tensor[] =>
      mapQueryChunks(backend, request.queryLength, queryChunk, body);
    if (k === 'all') {
      const values = exactValues(request, tensors);
      const [output] = run((start, size) => [
        scope(() => cast(exactChunk(request, tensors, values, start, size), dtype)),
      ]);
      return { output: output as Tensor };
    }
    const [output, indices, scores] = run((start, size) => {
      const chunk = topKChunk(request, tensors, k, start, size);
      return request.saves ? [chunk.output, chunk.indices, chunk.scores] : [chunk.output];
    });
    return { output: output as Tensor, ...(indices && { indices }), ...(scores && { scores }) };
  });
}

function topKChunk(
  request: ChosenAttention,
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
    const sums = cast(matmul(reshape(weights, [-1, 1, k]), rows), request.dtype);
    return { output: reshape(sums, [batch, queryHeads, size, valueDim]), indices: kept.indices, scores };
  });
}
