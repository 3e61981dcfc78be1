import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionInputs,
  AttentionRequest,
} from '../contract/attention.js';
import type {
  FeedForwardBackwardInputs,
  FeedForwardInputs,
  FeedForwardRequest,
} from '../contract/feed-forward.js';
import type { FusedOperations } from '../contract/fused.js';
import { referenceAttention } from './attention.js';
import { referenceAttentionBackward } from './attention-backward.js';
import type { AttentionArrays } from './attention-scores.js';
import {
  type FeedForwardArrays,
  referenceFeedForward,
  referenceFeedForwardBackward,
  referenceKeptUnits,
} from './feed-forward.js';
import { graphAttentionOperations } from './fused-graph-attention.js';
import { linearAttentionOperations } from './fused-linear-attention.js';
import { arraysOf, describe, gradientsOf, stored } from './fused-tools.js';
import { type Numbers, numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

/** f64 working results, and a score row with its sort. */
function attentionScratchBytes(request: AttentionRequest): number {
  const rows = request.batch * request.queryHeads * request.queryLength;
  const slots = request.k === 'all' ? 0 : request.k;
  return rows * (8 * request.valueDim + 12 * slots) + 64 * request.keyLength;
}

function backwardScratchBytes(request: AttentionRequest): number {
  const { batch, headDim, keyHeads, keyLength, queryHeads, queryLength, valueDim } = request;
  const keys = batch * keyHeads * keyLength * (headDim + valueDim);
  const bias = (request.bias ?? [0]).reduce((size, extent) => size * extent, 1);
  return 8 * (batch * queryHeads * queryLength * headDim + keys + bias) + 64 * keyLength;
}

/** f64 gradients and the hidden units of one token. */
function feedForwardBackwardBytes(request: FeedForwardRequest): number {
  const { gated, hidden, inputDim, outputDim, tokens } = request;
  const weights = hidden * (inputDim * (gated ? 2 : 1) + outputDim + 1) + outputDim;
  return 8 * (tokens * inputDim + weights) + 64 * hidden;
}

/**
 * The oracles as fused operations. They accept every request and ignore the query chunk, since they hold only one row
 * of scores.
 */
export function createFusedOperations(memory: ReferenceMemory): FusedOperations<ReferenceTensor> {
  const store = (
    values: Numbers,
    shape: readonly number[],
    dtype: ReferenceTensor['dtype'],
  ): ReferenceTensor => stored(memory, values, shape, dtype);
  return {
    ...graphAttentionOperations(memory),
    ...linearAttentionOperations(memory),
    attention: {
      prepare(request) {
        const bytes = attentionScratchBytes(request);
        return {
          describe,
          scratchBytes: () => bytes,
          run: (inputs: AttentionInputs<ReferenceTensor>) =>
            memory.withScratch(bytes, () => {
              const { batch, dtype, k, queryHeads, queryLength, saves, valueDim } = request;
              const arrays: AttentionArrays = arraysOf(inputs);
              const { output, indices, scores } = referenceAttention(request, arrays, memory.floatStorage);
              const result = { output: store(output, [batch, queryHeads, queryLength, valueDim], dtype) };
              if (!saves || k === 'all') return result;
              const listShape = [batch, queryHeads, queryLength, k];
              return {
                ...result,
                indices: store(indices, listShape, 'i32'),
                scores: store(scores, listShape, 'f32'),
              };
            }),
        };
      },
    },
    attentionBackward: {
      prepare(request) {
        const bytes = backwardScratchBytes(request);
        return {
          describe,
          scratchBytes: () => bytes,
          run: (inputs: AttentionBackwardInputs<ReferenceTensor>): AttentionGradients<ReferenceTensor> =>
            memory.withScratch(bytes, () => {
              // The saved lists are not needed: selecting again gives the same keys.
              const { dOutput, indices: _indices, scores: _scores, ...tensors } = inputs;
              const arrays: AttentionArrays = arraysOf(tensors);
              const gradients = referenceAttentionBackward(
                request,
                arrays,
                numbersOf(dOutput),
                memory.floatStorage,
              );
              const { mask: _mask, keyLengths: _keyLengths, ...differentiable } = tensors;
              return gradientsOf(memory, differentiable, gradients);
            }),
        };
      },
    },
    feedForward: {
      prepare(request) {
        const bytes = 8 * request.tokens * request.outputDim + 64 * request.hidden;
        return {
          describe,
          scratchBytes: () => bytes,
          run: (inputs: FeedForwardInputs<ReferenceTensor>) =>
            memory.withScratch(bytes, () => {
              const arrays: FeedForwardArrays = arraysOf(inputs);
              const { dtype, k, outputDim, saves, tokens } = request;
              const { floatStorage } = memory;
              const values = referenceFeedForward(request, arrays, floatStorage);
              const output = store(values, [tokens, outputDim], dtype);
              if (saves !== true || k === 'all') return { output };
              const { indices, preactivations } = referenceKeptUnits(request, arrays, k, floatStorage);
              return {
                output,
                indices: store(indices, [tokens, k], 'i32'),
                preactivations: store(preactivations, [tokens, k], 'f32'),
              };
            }),
        };
      },
    },
    feedForwardBackward: {
      prepare(request) {
        const bytes = feedForwardBackwardBytes(request);
        return {
          describe,
          scratchBytes: () => bytes,
          run: (inputs: FeedForwardBackwardInputs<ReferenceTensor>): FeedForwardInputs<ReferenceTensor> =>
            memory.withScratch(bytes, () => {
              const { dOutput, indices: _indices, preactivations: _preactivations, ...tensors } = inputs;
              const arrays: FeedForwardArrays = arraysOf(tensors);
              const gradients = referenceFeedForwardBackward(
                request,
                arrays,
                numbersOf(dOutput),
                memory.floatStorage,
              );
              return gradientsOf(memory, tensors, gradients);
            }),
        };
      },
    },
  };
}
