import { chooseFeedForward, describeSelection } from '../contract/choices.js';
import type { FeedForwardOutputs, FeedForwardRequest } from '../contract/feed-forward.js';
import type { DifferentiableOperation } from '../operation/define.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  backwardBytes,
  composedFeedForwardBackwardScratch,
  composedFeedForwardScratch,
  composedJoining,
  composedLargest,
  forwardBytes,
} from './bytes.js';
import { composedFeedForward } from './composed.js';
import { composedFeedForwardBackward } from './composed-backward.js';
import type { FeedForwardTensors } from './request.js';

/** Target scratch of a token chunk, in multiples of attention's target: products with long rows run faster. */
const SCRATCH_TARGETS = 4;

/** A feed-forward layer over its k best hidden units, or all of them. */
export const feedForward: DifferentiableOperation<
  FeedForwardRequest,
  FeedForwardTensors,
  FeedForwardOutputs<Tensor>,
  FeedForwardTensors
> = {
  name: 'feedForward',
  title: 'feed-forward',
  chunks: {
    option: 'tokenChunk',
    title: 'token chunk',
    remedy: 'fewer tokens at a time',
    length: ({ tokens }) => tokens,
    range: ({ tokens }, { targetScratchBytes }) => ({
      least: 1,
      most: Math.max(tokens, 1),
      targetBytes: SCRATCH_TARGETS * targetScratchBytes,
    }),
  },
  isEmpty: ({ tokens }) => tokens === 0,
  outputs({ tokens, outputDim, dtype, k, saves }) {
    const output = { shape: [tokens, outputDim], dtype };
    if (k === 'all' || saves !== true) return { output };
    const shape = [tokens, k];
    return { output, indices: { shape, dtype: 'i32' }, preactivations: { shape, dtype: 'f32' } };
  },
  forward: {
    bytes: forwardBytes,
    composed(request, limits) {
      const chosen = chooseFeedForward(request, limits);
      return {
        describe: () => ({
          selection: request.k === 'all' ? 'all units' : describeSelection(chosen.selection),
          second: `${chosen.second} product`,
        }),
        scratchBytes: (chunk) => composedFeedForwardScratch(chosen, chunk, limits.boolBytes),
        largestBytes: (chunk) => composedLargest(chosen, chunk),
        joiningBytes: (chunk) => composedJoining(request, chunk),
        run: (inputs, chunk) => composedFeedForward(chosen, inputs, chunk),
      };
    },
  },
  backward: {
    roles: ['x', 'wIn', 'bIn', 'wGate', 'wOut', 'bOut'],
    isPaired: true,
    bytes: backwardBytes,
    composed: (request, limits) => ({
      scratchBytes: (chunk) => composedFeedForwardBackwardScratch(request, chunk, limits.boolBytes),
      largestBytes: (chunk) => 4 * chunk * request.hidden,
      run({ indices, preactivations, dOutput, ...inputs }, chunk) {
        const kept = indices && preactivations && { indices, preactivations };
        return composedFeedForwardBackward(request, inputs, kept, dOutput, chunk);
      },
    }),
  },
};
