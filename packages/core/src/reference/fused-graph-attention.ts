import type { FusedOperations } from '../contract/fused.js';
import type {
  GraphAttentionBackwardInputs,
  GraphAttentionInputs,
  GraphAttentionRequest,
} from '../contract/graph-attention.js';
import { sizeOf } from '../contract/shape.js';
import { arraysOf, describe, gradientsOf, stored } from './fused-tools.js';
import {
  type GraphAttentionArrays,
  referenceGraphAttention,
  referenceGraphAttentionBackward,
} from './graph-attention.js';
import { numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

/** f64 working results. */
function scratchBytes(request: GraphAttentionRequest): number {
  const { batch, queryHeads, queryLength, valueDim, entries } = request;
  return batch * queryHeads * queryLength * (8 * valueDim + 12 * entries) + 64 * entries;
}

function backwardScratchBytes(request: GraphAttentionRequest): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, bias } = request;
  const keys = batch * keyHeads * keyLength * (headDim + valueDim);
  return 8 * (batch * queryHeads * queryLength * headDim + keys + (bias === undefined ? 0 : sizeOf(bias)));
}

/** Attention over a graph by the oracle. */
export function graphAttentionOperations(
  memory: ReferenceMemory,
): Pick<FusedOperations<ReferenceTensor>, 'graphAttention' | 'graphAttentionBackward'> {
  return {
    graphAttention: {
      prepare(request) {
        const bytes = scratchBytes(request);
        return {
          describe,
          scratchBytes: () => bytes,
          run: (inputs: GraphAttentionInputs<ReferenceTensor>) =>
            memory.withScratch(bytes, () => {
              const { batch, dtype, entries, queryHeads, queryLength, saves, valueDim } = request;
              const arrays: GraphAttentionArrays = arraysOf(inputs);
              const made = referenceGraphAttention(request, arrays, memory.floatStorage);
              const shape = [batch, queryHeads, queryLength];
              const output = stored(memory, made.output, [...shape, valueDim], dtype);
              if (!saves) return { output };
              return {
                output,
                indices: stored(memory, made.indices, [...shape, entries], 'i32'),
                scores: stored(memory, made.scores, [...shape, entries], 'f32'),
              };
            }),
        };
      },
    },
    graphAttentionBackward: {
      prepare(request) {
        const bytes = backwardScratchBytes(request);
        return {
          describe,
          scratchBytes: () => bytes,
          run: (inputs: GraphAttentionBackwardInputs<ReferenceTensor>) =>
            memory.withScratch(bytes, () => {
              // The saved lists are not needed: the graph says the same.
              const { dOutput, indices: _indices, scores: _scores, ...tensors } = inputs;
              const arrays: GraphAttentionArrays = arraysOf(tensors);
              const made = referenceGraphAttentionBackward(
                request,
                arrays,
                numbersOf(dOutput),
                memory.floatStorage,
              );
              const { graph: _graph, keyMask: _mask, keyLengths: _lengths, ...differentiable } = tensors;
              return gradientsOf(memory, differentiable, made);
            }),
        };
      },
    },
  };
}
