import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionRequest,
  FusedOperation,
} from '@topk-attention/core';
import type { Engine } from '../engine/engine.js';
import type { TensorExchange, TfjsTensor } from '../tensor.js';
import type { TfTensor } from '../tf.js';
import { attentionBackward } from './backward/backward.js';
import {
  backwardChunk,
  backwardLargestBytes,
  backwardScratchBytes,
  refusesBackward,
} from './backward/plan.js';

/** The backward pass of top-k attention on the backend's tensors. */
export function fusedAttentionBackward(
  engine: Engine,
  { raw, own }: TensorExchange,
): FusedOperation<AttentionRequest, AttentionBackwardInputs<TfjsTensor>, AttentionGradients<TfjsTensor>> {
  return {
    refuses: (request) => refusesBackward(engine, request),
    scratchBytes: backwardScratchBytes,
    largestBytes: backwardLargestBytes,
    preferredChunk: backwardChunk,
    run: (request, inputs, chunk) => {
      const { bias, relativeTable, indices, scores } = inputs;
      // Validity is in the lists already: what the mask hides has no slot.
      const tensors: AttentionBackwardInputs<TfTensor> = {
        q: raw(inputs.q),
        k: raw(inputs.k),
        v: raw(inputs.v),
        dOutput: raw(inputs.dOutput),
        ...(bias && { bias: raw(bias) }),
        ...(relativeTable && { relativeTable: raw(relativeTable) }),
        ...(indices && { indices: raw(indices) }),
        ...(scores && { scores: raw(scores) }),
      };
      const made = attentionBackward(engine, request, tensors, chunk);
      return {
        q: own(made.q),
        k: own(made.k),
        v: own(made.v),
        ...(made.bias && { bias: own(made.bias) }),
        ...(made.relativeTable && { relativeTable: own(made.relativeTable) }),
      };
    },
  };
}
