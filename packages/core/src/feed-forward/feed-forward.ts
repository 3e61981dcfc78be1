import { apply } from '../apply.js';
import { custom } from '../autograd/custom.js';
import { firstOrder } from '../autograd/first-order.js';
import { withoutTapes } from '../autograd/tape.js';
import type { BackendTensor, FeedForwardInputs } from '../backend.js';
import type { DType } from '../dtype.js';
import { zeros } from '../ops/create.js';
import { reshape } from '../ops/layout.js';
import { requireOutputShape } from '../output-shape.js';
import { readOptions } from '../read-options.js';
import { scope } from '../scope.js';
import type { Shape } from '../shape.js';
import type { Tensor } from '../tensor.js';
import { composedFeedForward, type FeedForwardTensors, type KeptUnits } from './composed.js';
import { composedFeedForwardBackward } from './composed-backward.js';
import {
  checkFeedForward,
  type FeedForwardCall,
  type FeedForwardOptions,
  type FeedForwardWeights,
  feedForwardKinds,
  mapWeights,
} from './options.js';
import { planBackward, planForward } from './plans.js';

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
  const call = checkFeedForward(x, weights, given);
  const { tokens, inputDim, outputDim } = call.request;
  return scope(() => {
    const flat = reshape(x, [tokens, inputDim]);
    const output = runFeedForward(call, { x: flat, ...weights }, given);
    return reshape(output, [...x.shape.slice(0, -1), outputDim]);
  });
}

/** The output and what the backward half needs. */
export interface FeedForwardForward {
  /** [tokens, Dout] */
  readonly output: Tensor;
  /** The kept hidden units and their pre-activations; absent where all are kept, which is computed again. */
  readonly kept?: KeptUnits;
}

/**
 * The forward half of `topKFeedForward`, for automatic differentiation other than this package's: x is [tokens, D].
 * Nothing is recorded on open tapes.
 *
 * @throws TopKError as `topKFeedForward`.
 */
export function feedForwardForward(
  x: Tensor,
  weights: FeedForwardWeights,
  options: FeedForwardOptions,
): FeedForwardForward {
  const given = readOptions('feedForwardForward', options, feedForwardKinds);
  const call = checkFeedForward(x, weights, given);
  const { output, kept } = withoutTapes(() => forward(call, { x, ...weights }, given, true));
  return { output, ...(kept && { kept }) };
}

/**
 * The backward half: gradients of x and of each weight that was given, from what `feedForwardForward` kept for the same
 * inputs and options and the gradient of its output, [tokens, Dout].
 *
 * @throws TopKError as `topKFeedForward`; SHAPE_MISMATCH when `dOutput` does not have the output's shape.
 */
export function feedForwardBackward(
  x: Tensor,
  weights: FeedForwardWeights,
  options: FeedForwardOptions,
  kept: KeptUnits | undefined,
  dOutput: Tensor,
): FeedForwardTensors {
  const given = readOptions('feedForwardBackward', options, feedForwardKinds);
  const call = checkFeedForward(x, weights, given);
  const { tokens, outputDim } = call.request;
  requireOutputShape('topKFeedForward.backward', dOutput, [tokens, outputDim]);
  return withoutTapes(() => backward(call, { x, ...weights }, kept, dOutput, given));
}

function runFeedForward(
  call: FeedForwardCall,
  inputs: FeedForwardTensors,
  options: FeedForwardOptions,
): Tensor {
  const [output] = custom(
    name,
    present(inputs),
    (isTracked) => {
      // A backward pass that will not fit is refused here, before anything is allocated.
      if (isTracked && call.request.tokens > 0) planBackward(call.backend, call.request, options);
      const { output, kept } = forward(call, inputs, options, isTracked);
      const lists = kept === undefined ? [] : [kept.indices, kept.preactivations];
      return { outputs: [output], saved: isTracked ? [...present(inputs), ...lists] : [] };
    },
    (_ops, [dOutput], saved) => {
      const rest = [...saved];
      const again = mapWeights(inputs, () => rest.shift() as Tensor);
      const [indices, preactivations] = rest;
      const kept: KeptUnits | undefined = indices && preactivations && { indices, preactivations };
      return firstOrder(name, [...present(again), dOutput as Tensor], () =>
        present(backward(call, again, kept, dOutput as Tensor, options)),
      );
    },
  );
  return output as Tensor;
}

function forward(
  { backend, request: wanted }: FeedForwardCall,
  inputs: FeedForwardTensors,
  options: FeedForwardOptions,
  saves: boolean,
): { output: Tensor; kept: KeptUnits | undefined } {
  const request = { ...wanted, saves };
  if (request.tokens === 0) return emptyForward(request, inputs.x);
  const { fused, plan } = planForward(backend, request, options);
  if (fused === undefined) return composedFeedForward(request, inputs, plan.tokenChunk, saves);
  const { tokens, outputDim, dtype, k } = request;
  const list: Shape | undefined = saves && k !== 'all' ? [tokens, k] : undefined;
  const [output, indices, preactivations] = apply(
    name,
    present(inputs),
    [
      { shape: [tokens, outputDim], dtype },
      ...(list === undefined ? [] : [spec(list, 'i32'), spec(list, 'f32')]),
    ],
    () => {
      const made = fused.run(request, mapWeights(inputs, handleOf), plan.tokenChunk);
      return [made.output, made.indices, made.preactivations].filter((one) => one !== undefined);
    },
  );
  return { output: output as Tensor, kept: indices && preactivations && { indices, preactivations } };
}

function backward(
  { backend, request: wanted }: FeedForwardCall,
  inputs: FeedForwardTensors,
  kept: KeptUnits | undefined,
  dOutput: Tensor,
  options: FeedForwardOptions,
): FeedForwardTensors {
  const request = { ...wanted, saves: true };
  if (request.tokens === 0) return mapWeights(inputs, ({ shape, dtype }) => zeros(backend, shape, dtype));
  const { fused, plan } = planBackward(backend, request, options);
  if (fused === undefined)
    return composedFeedForwardBackward(request, inputs, kept, dOutput, plan.tokenChunk);
  const made = apply(
    `${name}.backward`,
    [...present(inputs), ...(kept ? [kept.indices, kept.preactivations] : []), dOutput],
    present(inputs).map(({ shape, dtype }) => spec(shape, dtype)),
    () => {
      const handles = {
        ...mapWeights(inputs, handleOf),
        ...(kept && { indices: handleOf(kept.indices), preactivations: handleOf(kept.preactivations) }),
        dOutput: handleOf(dOutput),
      };
      return present(fused.run(request, handles, plan.tokenChunk));
    },
  );
  return mapWeights(inputs, () => made.shift() as Tensor);
}

/** No tokens: empty tensors, made without asking an engine. */
function emptyForward(
  { outputDim, dtype, k, saves }: FeedForwardCall['request'],
  { backend }: Tensor,
): { output: Tensor; kept: KeptUnits | undefined } {
  const output = zeros(backend, [0, outputDim], dtype);
  if (k === 'all' || saves !== true) return { output, kept: undefined };
  return { output, kept: { indices: zeros(backend, [0, k], 'i32'), preactivations: zeros(backend, [0, k]) } };
}

function spec(shape: Shape, dtype: DType): { shape: Shape; dtype: DType } {
  return { shape, dtype };
}

function handleOf(one: Tensor): BackendTensor {
  return one.handle;
}

/** The values that are there, in a fixed order. */
function present<T>(inputs: FeedForwardInputs<T>): T[] {
  const list: T[] = [];
  mapWeights(inputs, (one) => list.push(one));
  return list;
}
