import { apply } from '../apply.js';
import { custom } from '../autograd/custom.js';
import { choosePath } from '../fused.js';
import { reshape } from '../ops/layout.js';
import { planFeedForward } from '../plan/plan-feed-forward.js';
import { scope } from '../scope.js';
import type { Tensor } from '../tensor.js';
import {
  composedFeedForward,
  composedFeedForwardBackward,
  type FeedForwardTensors,
  type KeptUnits,
} from './composed.js';
import {
  checkFeedForward,
  type FeedForwardCall,
  type FeedForwardOptions,
  type FeedForwardWeights,
  mapWeights,
} from './options.js';

/**
 * A feed-forward layer in which every token keeps only its k best hidden units: the layer read as attention with
 * tokens as queries and hidden units as keys and values (paper section 1.9). With at most k positive pre-activations
 * under ReLU the result is exact.
 *
 * x [..., D], wIn [D, F], wOut [F, Dout] -> [..., Dout]. Ties go to the lower unit; a NaN pre-activation makes the
 * token's output NaN.
 *
 * @throws TopKError SHAPE_MISMATCH, RANK_MISMATCH, DTYPE_MISMATCH, INVALID_K, INVALID_OPTION, EMPTY_SEQUENCE,
 * MIXED_BACKENDS, DOES_NOT_FIT.
 *
 * @example
 * const y = topKFeedForward(x, { wIn, wOut }, { k: 64, activation: 'relu' });
 */
export function topKFeedForward(x: Tensor, weights: FeedForwardWeights, options: FeedForwardOptions): Tensor {
  const call = checkFeedForward(x, weights, options);
  const { inputDim, outputDim } = call.request;
  return scope(() => {
    const flat = reshape(x, [-1, inputDim]);
    const output = runFeedForward(call, { x: flat, ...weights }, options);
    return reshape(output, [...x.shape.slice(0, -1), outputDim]);
  });
}

function runFeedForward(
  call: FeedForwardCall,
  inputs: FeedForwardTensors,
  options: FeedForwardOptions,
): Tensor {
  const { backend, request } = call;
  const [output] = custom(
    'topKFeedForward',
    present(inputs),
    (isTracked) => {
      const { fused } = choosePath(backend, isTracked ? undefined : backend.fused?.feedForward, request);
      const plan = planFeedForward(request, backend.capabilities.limits, {
        ...options,
        saves: isTracked,
        ...(fused && { path: fused }),
      });
      if (fused !== undefined) {
        const made = apply(
          'topKFeedForward',
          present(inputs),
          [{ shape: [request.tokens, request.outputDim], dtype: request.dtype }],
          () => [
            fused.run(
              request,
              mapWeights(inputs, (one) => one.handle),
              plan.tokenChunk,
            ).output,
          ],
        );
        return { outputs: made, saved: [] };
      }
      const made = composedFeedForward(request, inputs, plan.tokenChunk, isTracked);
      const lists = made.kept === undefined ? [] : [made.kept.indices, made.kept.preactivations];
      return { outputs: [made.output], saved: isTracked ? [...present(inputs), ...lists] : [] };
    },
    (_ops, [dOutput], saved) => {
      const rest = [...saved];
      const again = mapWeights(inputs, () => rest.shift() as Tensor);
      const [indices, preactivations] = rest;
      const kept: KeptUnits | undefined = indices && preactivations && { indices, preactivations };
      const { tokenChunk } = planFeedForward(request, backend.capabilities.limits, options);
      return present(composedFeedForwardBackward(request, again, kept, dOutput as Tensor, tokenChunk));
    },
  );
  return output as Tensor;
}

function present(inputs: FeedForwardTensors): Tensor[] {
  const list: Tensor[] = [];
  mapWeights(inputs, (one) => list.push(one));
  return list;
}
