import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionInputs,
  FeedForwardBackwardInputs,
  FeedForwardInputs,
  FusedOperations,
} from '../backend.js';
import type { AttentionRequest, FeedForwardRequest } from '../plan/request.js';
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

type Arrays<Inputs> = { [Name in keyof Inputs]: Numbers };

/** Each tensor as its numbers, under the same name; absent ones stay absent. */
function arraysOf<Inputs extends object>(inputs: Inputs): Arrays<Inputs> {
  const present = Object.entries(inputs).filter(([, x]) => x !== undefined);
  return Object.fromEntries(present.map(([name, x]) => [name, numbersOf(x)])) as Arrays<Inputs>;
}

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
 * The oracles as fused operations. They take every request; the query chunk has no meaning for them, since one row
 * of scores is all they hold.
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

  return {
    attention: {
      refuses: () => [],
      scratchBytes: attentionScratchBytes,
      run(request, inputs: AttentionInputs<ReferenceTensor>) {
        return memory.withScratch(attentionScratchBytes(request), () => {
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
        });
      },
    },
    attentionBackward: {
      refuses: () => [],
      scratchBytes: backwardScratchBytes,
      run(request, inputs: AttentionBackwardInputs<ReferenceTensor>): AttentionGradients<ReferenceTensor> {
        return memory.withScratch(backwardScratchBytes(request), () => {
          // The saved lists are not needed: selecting again gives the same keys.
          const { dOutput, indices: _indices, scores: _scores, ...tensors } = inputs;
          const arrays: AttentionArrays = arraysOf(tensors);
          const gradients = referenceAttentionBackward(
            request,
            arrays,
            numbersOf(dOutput),
            memory.floatStorage,
          );
          const { bias, relativeTable } = inputs;
          return {
            q: store(gradients.q, inputs.q.shape, inputs.q.dtype),
            k: store(gradients.k, inputs.k.shape, inputs.k.dtype),
            v: store(gradients.v, inputs.v.shape, inputs.v.dtype),
            ...(bias && { bias: store(gradients.bias, bias.shape, bias.dtype) }),
            ...(relativeTable && {
              relativeTable: store(gradients.relativeTable, relativeTable.shape, relativeTable.dtype),
            }),
          };
        });
      },
    },
    feedForward: {
      refuses: () => [],
      scratchBytes: (request) => 8 * request.tokens * request.outputDim + 64 * request.hidden,
      run(request, inputs: FeedForwardInputs<ReferenceTensor>) {
        const bytes = 8 * request.tokens * request.outputDim + 64 * request.hidden;
        return memory.withScratch(bytes, () => {
          const arrays: FeedForwardArrays = arraysOf(inputs);
          const { dtype, k, outputDim, saves, tokens } = request;
          const { floatStorage } = memory;
          const output = store(
            referenceFeedForward(request, arrays, floatStorage),
            [tokens, outputDim],
            dtype,
          );
          if (saves !== true || k === 'all') return { output };
          const { indices, preactivations } = referenceKeptUnits(request, arrays, k, floatStorage);
          return {
            output,
            indices: store(indices, [tokens, k], 'i32'),
            preactivations: store(preactivations, [tokens, k], 'f32'),
          };
        });
      },
    },
    feedForwardBackward: {
      refuses: () => [],
      scratchBytes: feedForwardBackwardBytes,
      run(request, inputs: FeedForwardBackwardInputs<ReferenceTensor>): FeedForwardInputs<ReferenceTensor> {
        return memory.withScratch(feedForwardBackwardBytes(request), () => {
          const { dOutput, indices: _indices, preactivations: _preactivations, ...tensors } = inputs;
          const arrays: FeedForwardArrays = arraysOf(tensors);
          const gradients = referenceFeedForwardBackward(
            request,
            arrays,
            numbersOf(dOutput),
            memory.floatStorage,
          );
          const like = (one: ReferenceTensor, values: Numbers): ReferenceTensor =>
            store(values, one.shape, one.dtype);
          const { x, wIn, bIn, wGate, wOut, bOut } = tensors;
          return {
            x: like(x, gradients.x),
            wIn: like(wIn, gradients.wIn),
            ...(bIn && { bIn: like(bIn, gradients.bIn) }),
            ...(wGate && { wGate: like(wGate, gradients.wGate) }),
            wOut: like(wOut, gradients.wOut),
            ...(bOut && { bOut: like(bOut, gradients.bOut) }),
          };
        });
      },
    },
  };
}
