import {
  type AttentionBackwardInputs,
  type AttentionGradients,
  type AttentionRequest,
  type FusedOperation,
  mapRoles,
} from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import type { TensorExchange, TfjsTensor } from '../../tensor.js';
import { attentionBackward } from './backward.js';
import { backwardChunk, backwardLargestBytes, backwardScratchBytes, refusesBackward } from './plan.js';

/** The backward pass of top-k attention on the backend's tensors. */
export function fusedAttentionBackward(
  engine: Engine,
  { raw, own }: TensorExchange,
): FusedOperation<AttentionRequest, AttentionBackwardInputs<TfjsTensor>, AttentionGradients<TfjsTensor>> {
  return {
    prepare(request) {
      const refusals = refusesBackward(engine, request);
      if (refusals.length > 0) return { refusals };
      return {
        preferredChunk: backwardChunk(request),
        scratchBytes: (chunk) => backwardScratchBytes(request, chunk),
        largestBytes: (chunk) => backwardLargestBytes(request, chunk),
        describe: () => ({ variant: 'gathers and scatters of the kept keys, in tiles of queries' }),
        // The lists already encode validity: masked keys have no slot.
        run: ({ mask: _mask, keyLengths: _keyLengths, ...inputs }, chunk) =>
          mapRoles(attentionBackward(engine, request, mapRoles(inputs, raw), chunk), own),
      };
    },
  };
}
