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
import { mapRoles, type Roles } from '../operation/roles.js';
import { referenceAttention } from './attention.js';
import { referenceAttentionBackward } from './attention-backward.js';
import type { AttentionArrays } from './attention-scores.js';
import {
  type FeedForwardArrays,
  referenceFeedForward,
  referenceFeedForwardBackward,
  referenceKeptUnits,
} from './feed-forward.js';
import { type Numbers, numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

/** Each tensor as its numbers, under the same role. */
function arraysOf<Inputs extends object>(inputs: Inputs): Roles<Inputs, Numbers> {
  return mapRoles(inputs, numbersOf);
}

/** The variant shared by all of them, for `explain()`. */
const describe = () => ({ variant: 'plain loops' });

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
  ): ReferenceTensor =>
    memory.make(shape, dtype, (out) => {
      for (let i = 0; i < out.length; i++) out[i] = values[i] as number;
    });

  /** Gradients as tensors shaped like the inputs, under the same roles. */
  const gradientsOf = <Inputs extends object>(
    inputs: Inputs,
    gradients: { readonly [Role in keyof Inputs]-?: Numbers },
  ): Roles<Inputs, ReferenceTensor> =>
    mapRoles(inputs, (one: ReferenceTensor, role) =>
      store(gradients[role as keyof Inputs], one.shape, one.dtype),
    );

  return {
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
              return gradientsOf(differentiable, gradients);
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
              return gradientsOf(tensors, gradients);
            }),
        };
      },
    },
  };
}
