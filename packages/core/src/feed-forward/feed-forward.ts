import type { FeedForwardRequest } from '../contract/feed-forward.js';
import { type OperationCall, runBackward, runForward, runOperation } from '../operation/run.js';
import { reshape } from '../ops/layout.js';
import { requireOutputShape } from '../tensor/output-shape.js';
import { readOptions } from '../tensor/read-options.js';
import { scope } from '../tensor/scope.js';
import { withoutTapes } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';
import type { KeptUnits } from './composed.js';
import { feedForward } from './definition.js';
import { type FeedForwardOptions, type FeedForwardWeights, feedForwardKinds } from './options.js';
import { wishesOf } from './plan.js';
import { checkFeedForward, type FeedForwardTensors } from './request.js';

const name = 'topKFeedForward';

/**
 * A feed-forward layer in which every token keeps only its k best hidden units: the layer read as attention with
 * tokens as queries and hidden units as keys and values (paper section 1.9). With at most k positive pre-activations
 * under ReLU the result is exact.
 *
 * x [..., D], wIn [D, F], wOut [F, Dout] -> [..., Dout]. Ties go to the lower unit; a NaN pre-activation makes the
 * token's output NaN.
 *
 * @throws TopKError SHAPE_MISMATCH, RANK_MISMATCH, DTYPE_MISMATCH, INVALID_K, INVALID_OPTION, MIXED_BACKENDS,
 * DOES_NOT_FIT. Gradients of its gradients are NOT_DIFFERENTIABLE.
 *
 * @example
 * const y = topKFeedForward(x, { wIn, wOut }, { k: 64, activation: 'relu' });
 */
export function topKFeedForward(x: Tensor, weights: FeedForwardWeights, options: FeedForwardOptions): Tensor {
  const given = readOptions(name, options, feedForwardKinds);
  const request = checkFeedForward(x, weights, given);
  return scope(() => {
    const flat = reshape(x, [request.tokens, request.inputDim]);
    const { output } = runOperation(feedForward, callOf(request, { x: flat, ...weights }, given));
    return reshape(output, [...x.shape.slice(0, -1), request.outputDim]);
  });
}

/** The output and what the backward half needs. */
export interface FeedForwardForward {
  /** [tokens, Dout] */
  readonly output: Tensor;
  /** The kept hidden units and their pre-activations; absent if all are kept, as they are recomputed. */
  readonly kept?: KeptUnits;
}

/**
 * The forward half of `topKFeedForward`, for use with another automatic differentiation: x is [tokens, D]. Records
 * nothing on open tapes.
 *
 * @throws TopKError as `topKFeedForward`.
 */
export function feedForwardForward(
  x: Tensor,
  weights: FeedForwardWeights,
  options: FeedForwardOptions,
): FeedForwardForward {
  const given = readOptions('feedForwardForward', options, feedForwardKinds);
  const request = checkFeedForward(x, weights, given);
  const { output, indices, preactivations } = withoutTapes(() =>
    runForward(feedForward, callOf(request, { x, ...weights }, given)),
  );
  return { output, ...(indices && preactivations && { kept: { indices, preactivations } }) };
}

/**
 * The backward half: gradients of x and of each given weight, from what `feedForwardForward` kept for the same inputs
 * and options and the gradient of its output, [tokens, Dout].
 *
 * @throws TopKError as `topKFeedForward`; SHAPE_MISMATCH when `dOutput` does not have the output's shape; INVALID_OPTION
 * without the kept units, unless all are kept.
 */
export function feedForwardBackward(
  x: Tensor,
  weights: FeedForwardWeights,
  options: FeedForwardOptions,
  kept: KeptUnits | undefined,
  dOutput: Tensor,
): FeedForwardTensors {
  const given = readOptions('feedForwardBackward', options, feedForwardKinds);
  const request = checkFeedForward(x, weights, given);
  requireOutputShape(`${name}.backward`, dOutput, feedForward.outputs(request).output.shape);
  const inputs = { x, ...weights };
  return withoutTapes(() =>
    runBackward(feedForward, callOf(request, inputs, given), { ...inputs, ...kept, dOutput }),
  );
}

/** A checked call. */
function callOf(
  request: FeedForwardRequest,
  inputs: FeedForwardTensors,
  options: FeedForwardOptions,
): OperationCall<FeedForwardRequest, FeedForwardTensors> {
  return { where: name, request, inputs, wishes: wishesOf(options) };
}
