import {
  chooseFeedForward,
  type FeedForwardInputs,
  type FeedForwardOutputs,
  type FeedForwardRequest,
  type FusedOperation,
  mapRoles,
} from '@topk-attention/core/backend';
import type { Engine } from '../engine/engine.js';
import type { TensorExchange, TfjsTensor } from '../tensor.js';
import { feedForwardForward } from './forward.js';

/** The forward pass of top-k feed-forward on the backend's tensors. Training is composed. */
export function fusedFeedForward(
  engine: Engine,
  { raw, own }: TensorExchange,
): FusedOperation<FeedForwardRequest, FeedForwardInputs<TfjsTensor>, FeedForwardOutputs<TfjsTensor>> {
  return {
    prepare(request, limits) {
      const refusals = refusesOf(engine, request);
      const { k } = request;
      if (refusals.length > 0 || k === 'all') return { refusals };
      const { hidden, outputDim, gated, select } = request;
      const { second } = chooseFeedForward(request, limits);
      return {
        scratchBytes(chunk) {
          // Pre-activations, what is read of them, activations zeroed except the kept ones, and a copy of those.
          const wide = 4 * chunk * hidden * (4 + (gated ? 1 : 0) + (select === 'contribution' ? 2 : 0));
          return wide + chunk * k * (12 + (second === 'gather' ? 4 * outputDim : 0));
        },
        describe() {
          const isByThreshold = engine.traits.runsTensorFlowOps && second === 'dense';
          return {
            variant: isByThreshold
              ? 'by the k-th value, where TensorFlow has nth_element'
              : 'selection by a loop over the pre-activations',
            second: second === 'dense' ? 'dense product' : 'product of the kept rows',
          };
        },
        run: (inputs, chunk) => ({
          output: own(feedForwardForward(engine, { ...request, k, second }, mapRoles(inputs, raw), chunk)),
        }),
      };
    },
  };
}

function refusesOf({ name, traits }: Engine, request: FeedForwardRequest): string[] {
  const { k, tokens, inputDim, hidden, outputDim, saves, dtype } = request;
  return [
    ...(traits.readsAtOnce ? [] : [`engine ${name}: its results cannot be read synchronously`]),
    ...(dtype === 'f32' ? [] : [`dtype ${dtype}: tfjs computes in f32`]),
    ...(k === 'all' ? ['all hidden units: nothing to choose'] : []),
    ...(saves === true ? ['training: the backward pass is composed'] : []),
    ...([tokens, inputDim, hidden, outputDim].includes(0) ? ['nothing to compute'] : []),
  ];
}
