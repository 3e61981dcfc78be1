import type {
  AttentionInputs,
  AttentionOutputs,
  AttentionRequest,
  FusedOperation,
} from '@topk-attention/core';
import type { Engine } from '../engine/engine.js';
import type { TensorExchange, TfjsTensor } from '../tensor.js';
import type { TfTensor } from '../tf.js';
import { attentionForward } from './forward/forward.js';
import {
  describeForward,
  forwardChunk,
  forwardLargestBytes,
  forwardScratchBytes,
  refusesForward,
} from './forward/plan.js';

/** The forward pass of top-k and exact attention on the backend's tensors. */
export function fusedAttention(
  engine: Engine,
  { raw, own }: TensorExchange,
): FusedOperation<AttentionRequest, AttentionInputs<TfjsTensor>, AttentionOutputs<TfjsTensor>> {
  return {
    refuses: (request) => refusesForward(engine, request),
    scratchBytes: (request, chunk) => forwardScratchBytes(engine, request, chunk),
    largestBytes: forwardLargestBytes,
    preferredChunk: (request) => forwardChunk(engine, request),
    describe: (request) => describeForward(engine, request),
    run: (request, inputs, chunk) => {
      const { mask, keyLengths, bias, relativeTable } = inputs;
      const tensors: AttentionInputs<TfTensor> = {
        q: raw(inputs.q),
        k: raw(inputs.k),
        v: raw(inputs.v),
        ...(mask && { mask: raw(mask) }),
        ...(keyLengths && { keyLengths: raw(keyLengths) }),
        ...(bias && { bias: raw(bias) }),
        ...(relativeTable && { relativeTable: raw(relativeTable) }),
      };
      const made = attentionForward(engine, request, tensors, chunk);
      return {
        output: own(made.output),
        ...(made.indices && { indices: own(made.indices) }),
        ...(made.scores && { scores: own(made.scores) }),
      };
    },
  };
}
