import type {
  FeedForwardInputs,
  FeedForwardOutputs,
  FeedForwardRequest,
  FusedOperation,
} from '@topk-attention/core';
import type { Engine } from '../engine/engine.js';
import type { TensorExchange, TfjsTensor } from '../tensor.js';
import type { TfTensor } from '../tf.js';
import { feedForwardForward } from './forward.js';

/** Engines that compute where they are called. */
const engines: ReadonlySet<string> = new Set(['cpu', 'wasm', 'tensorflow']);

/** The forward pass of top-k feed-forward on the backend's tensors. Training is composed. */
export function fusedFeedForward(
  engine: Engine,
  { raw, own }: TensorExchange,
): FusedOperation<FeedForwardRequest, FeedForwardInputs<TfjsTensor>, FeedForwardOutputs<TfjsTensor>> {
  return {
    refuses: ({ k, tokens, inputDim, hidden, outputDim, saves, dtype }) => [
      ...(engines.has(engine.name) ? [] : [`engine ${engine.name}: its results cannot be read at once`]),
      ...(dtype === 'f32' ? [] : [`dtype ${dtype}: tfjs computes in f32`]),
      ...(k === 'all' ? ['all hidden units: nothing to choose'] : []),
      ...(saves === true ? ['training: the backward pass is composed'] : []),
      ...([tokens, inputDim, hidden, outputDim].includes(0) ? ['nothing to compute'] : []),
    ],
    scratchBytes: ({ hidden, outputDim, k, gated, select, second }, chunk) => {
      // Pre-activations, what is read of them, activations at zero but for the kept ones, and a copy of those.
      const wide = 4 * chunk * hidden * (4 + (gated ? 1 : 0) + (select === 'contribution' ? 2 : 0));
      const kept = k === 'all' ? 0 : k;
      return wide + chunk * kept * (12 + (second === 'gather' ? 4 * outputDim : 0));
    },
    describe: ({ second }) =>
      `${engine.name === 'tensorflow' && second === 'dense' ? 'by the k-th value, where TensorFlow has nth_element' : 'selection by a loop over the pre-activations'}; ${second === 'dense' ? 'dense second product' : 'product of the kept rows'}`,
    run: (request, inputs, chunk) => {
      const { bIn, wGate, bOut } = inputs;
      const tensors: FeedForwardInputs<TfTensor> = {
        x: raw(inputs.x),
        wIn: raw(inputs.wIn),
        wOut: raw(inputs.wOut),
        ...(bIn && { bIn: raw(bIn) }),
        ...(wGate && { wGate: raw(wGate) }),
        ...(bOut && { bOut: raw(bOut) }),
      };
      // `refuses` leaves no other.
      const kept = { ...request, k: request.k as number };
      return { output: own(feedForwardForward(engine, kept, tensors, chunk)) };
    },
  };
}
