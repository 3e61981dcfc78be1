import { TopKError } from '../contract/errors.js';
import type { FeedForwardInputs, FeedForwardRequest } from '../contract/feed-forward.js';
import { formatShape, sameShape, sizeOf } from '../contract/shape.js';
import { checkLimits } from '../operation/check-limits.js';
import { clampK } from '../selection/clamp-k.js';
import { commonBackend } from '../tensor/apply.js';
import { readOptions } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  type FeedForwardOptions,
  type FeedForwardSizes,
  type FeedForwardWeights,
  weightKinds,
} from './options.js';

/** Inputs with x flattened to [tokens, D]. */
export type FeedForwardTensors = FeedForwardInputs<Tensor>;

const where = 'topKFeedForward';

/** The checked request of a call. */
export function checkFeedForward(
  x: Tensor,
  weights: FeedForwardWeights,
  options: FeedForwardOptions,
): FeedForwardRequest {
  requireTensor(where, 'x', x);
  const { wIn, bIn, wGate, wOut, bOut } = readOptions(`${where}: weights`, weights, weightKinds);
  const list = [x, wIn, bIn, wGate, wOut, bOut].filter((one) => one !== undefined);
  commonBackend(where, list);
  for (const one of list) {
    if (one.dtype === x.dtype && (one.dtype === 'f32' || one.dtype === 'f16')) continue;
    throw new TopKError('DTYPE_MISMATCH', `${where}: wrong dtype`, {
      expected: 'f32 or f16 throughout',
      got: one.dtype,
    });
  }
  if (x.rank < 2 || wIn.rank !== 2 || wOut.rank !== 2) {
    throw new TopKError('RANK_MISMATCH', `${where}: wrong ranks`, {
      expected: 'x [..., D], wIn [D, F], wOut [F, Dout]',
      got: [x, wIn, wOut].map((one) => formatShape(one.shape)).join(', '),
    });
  }
  const inputDim = x.shape.at(-1) as number;
  const [, hidden] = wIn.shape as [number, number];
  const [, outputDim] = wOut.shape as [number, number];
  requireShape('wIn', wIn, [inputDim, hidden]);
  requireShape('bIn', bIn, [hidden]);
  requireShape('wGate', wGate, [inputDim, hidden]);
  requireShape('wOut', wOut, [hidden, outputDim]);
  requireShape('bOut', bOut, [outputDim]);
  const sizes = {
    tokens: sizeOf(x.shape.slice(0, -1)),
    inputDim,
    hidden,
    outputDim,
    gated: wGate !== undefined,
    biasIn: bIn !== undefined,
    biasOut: bOut !== undefined,
    dtype: x.dtype === 'f16' ? ('f16' as const) : ('f32' as const),
  };
  return feedForwardRequest(sizes, options);
}

/** The checked request of a layer of these sizes. */
export function feedForwardRequest(sizes: FeedForwardSizes, options: FeedForwardOptions): FeedForwardRequest {
  const { activation = 'relu', select = 'preactivation' } = options;
  checkLimits(where, 'tokenChunk', options.tokenChunk, options.budgetBytes);
  const { tokens, inputDim, hidden, outputDim } = sizes;
  const isWhole = [tokens, inputDim, hidden, outputDim].every((one) => Number.isSafeInteger(one) && one >= 0);
  if (!isWhole || inputDim === 0 || hidden === 0 || outputDim === 0) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: bad sizes`, {
      expected:
        'at least one input dimension, one hidden unit and one output dimension; only tokens may be 0',
      got: `${tokens} tokens, ${inputDim} -> ${hidden} -> ${outputDim}`,
    });
  }
  const { gated = false, biasIn = false, biasOut = false, dtype = 'f32' } = sizes;
  const clamped = clampK(where, options.k, hidden, 'Use k = the number of hidden units to keep all of them');
  const k = clamped === hidden ? 'all' : clamped;
  return { tokens, inputDim, hidden, outputDim, dtype, k, activation, gated, biasIn, biasOut, select };
}

function requireShape(name: string, one: Tensor | undefined, shape: readonly number[]): void {
  if (one === undefined || sameShape(one.shape, shape)) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: ${name} has the wrong shape`, {
    expected: formatShape(shape),
    got: formatShape(one.shape),
  });
}
