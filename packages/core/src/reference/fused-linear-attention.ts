import type { FusedOperations } from '../contract/fused.js';
import type {
  LinearAttentionBackwardInputs,
  LinearAttentionInputs,
  LinearAttentionRequest,
} from '../contract/linear-attention.js';
import { arraysOf, describe, gradientsOf, stored } from './fused-tools.js';
import {
  type LinearAttentionArrays,
  referenceLinearAttention,
  referenceLinearAttentionBackward,
} from './linear-attention.js';
import { numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

/** f64 working results: output, divisors, sums. */
function scratchBytes(request: LinearAttentionRequest): number {
  const { batch, queryHeads, keyHeads, queryLength, features, valueDim } = request;
  const sums = batch * keyHeads * (features * (valueDim + 1) + 1);
  return 8 * (batch * queryHeads * queryLength * (valueDim + 1) + sums);
}

function backwardScratchBytes(request: LinearAttentionRequest): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, features, valueDim } = request;
  const gradients =
    batch * queryHeads * queryLength * features + batch * keyHeads * keyLength * (features + valueDim + 1);
  return scratchBytes(request) + 8 * gradients;
}

/** Linear attention by the oracle. */
export function linearAttentionOperations(
  memory: ReferenceMemory,
): Pick<FusedOperations<ReferenceTensor>, 'linearAttention' | 'linearAttentionBackward'> {
  return {
    linearAttention: {
      prepare(request) {
        const bytes = scratchBytes(request);
        return {
          describe,
          scratchBytes: () => bytes,
          run: (inputs: LinearAttentionInputs<ReferenceTensor>) =>
            memory.withScratch(bytes, () => {
              const { batch, dtype, features, keyHeads, queryHeads, queryLength, valueDim } = request;
              const arrays: LinearAttentionArrays = arraysOf(inputs);
              const made = referenceLinearAttention(request, arrays, memory.floatStorage);
              const rows = [batch, queryHeads, queryLength];
              const heads = [batch, keyHeads];
              return {
                output: stored(memory, made.output, [...rows, valueDim], dtype),
                ...(request.returnsState && {
                  sums: stored(memory, made.sums, [...heads, features, valueDim], 'f32'),
                  total: stored(memory, made.total, [...heads, features], 'f32'),
                  ...(request.keyLogScale && { logScale: stored(memory, made.logScale, heads, 'f32') }),
                }),
                ...(request.saves &&
                  request.normalise && { denominators: stored(memory, made.denominators, rows, 'f32') }),
              };
            }),
        };
      },
    },
    linearAttentionBackward: {
      prepare(request) {
        const bytes = backwardScratchBytes(request);
        return {
          describe,
          scratchBytes: () => bytes,
          run: (inputs: LinearAttentionBackwardInputs<ReferenceTensor>) =>
            memory.withScratch(bytes, () => {
              const { dOutput, denominators: _denominators, ...tensors } = inputs;
              const { keyMask: _mask, keyLengths: _lengths, ...differentiable } = tensors;
              const arrays: LinearAttentionArrays = arraysOf(tensors);
              return gradientsOf(
                memory,
                differentiable,
                referenceLinearAttentionBackward(request, arrays, numbersOf(dOutput), memory.floatStorage),
              );
            }),
        };
      },
    },
  };
}
