import {
  type AttentionInputs,
  type AttentionOutputs,
  type AttentionRequest,
  type FusedOperation,
  mapRoles,
} from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import type { TensorExchange, TfjsTensor } from '../../tensor.js';
import { attentionForward } from './forward.js';
import {
  describeForward,
  forwardChunk,
  forwardLargestBytes,
  forwardScratchBytes,
  refusesForward,
} from './plan.js';

/** The forward pass of top-k and exact attention on the backend's tensors. */
export function fusedAttention(
  engine: Engine,
  { raw, own }: TensorExchange,
): FusedOperation<AttentionRequest, AttentionInputs<TfjsTensor>, AttentionOutputs<TfjsTensor>> {
  return {
    prepare(request) {
      const refusals = refusesForward(engine, request);
      if (refusals.length > 0) return { refusals };
      return {
        preferredChunk: forwardChunk(engine, request),
        scratchBytes: (chunk) => forwardScratchBytes(engine, request, chunk),
        largestBytes: (chunk) => forwardLargestBytes(request, chunk),
        describe: () => ({ variant: describeForward(engine, request) }),
        run: (inputs, chunk) =>
          mapRoles(attentionForward(engine, request, mapRoles(inputs, raw), chunk), own),
      };
    },
  };
}
