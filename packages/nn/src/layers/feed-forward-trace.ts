import {
  activate,
  arange,
  broadcastTo,
  describeValue,
  type FeedForwardOptions,
  type FeedForwardWeights,
  fill,
  formatShape,
  gatherRows,
  matmul,
  mul,
  putAlong,
  reshape,
  scope,
  sizeOf,
  sub,
  type Tensor,
  TopKError,
  takeAlong,
  tensor,
} from '@topk-attention/core';
import { feedForwardForward, sameShape } from '@topk-attention/core/backend';
import type { ActivationOverride, KeptUnits } from '../trace.js';
import { linear } from './linear.js';

/** The units that a feed-forward layer keeps of x [..., D], and their activations, differentiable. */
export function keptUnits(x: Tensor, weights: FeedForwardWeights, options: FeedForwardOptions): KeptUnits {
  const { wIn, bIn, wGate } = weights;
  const [inputDim, units] = wIn.shape as readonly [number, number];
  const leading = x.shape.slice(0, -1);
  const tokens = sizeOf(leading);
  return scope(() => {
    const flat = reshape(x, [tokens, inputDim]);
    const indices = indicesOf(flat, weights, options, units);
    const preactivations = takeAlong(linear(flat, wIn, bIn), indices);
    const activated = activate(preactivations, options.activation ?? 'relu');
    const activations =
      wGate === undefined ? activated : mul(activated, takeAlong(linear(flat, wGate), indices));
    const shape = [...leading, indices.shape[1] as number];
    return { indices: reshape(indices, shape), activations: reshape(activations, shape) };
  });
}

/** i32 [tokens, kept]. */
function indicesOf(
  x: Tensor,
  weights: FeedForwardWeights,
  options: FeedForwardOptions,
  units: number,
): Tensor {
  return scope(() => {
    const { kept } = feedForwardForward(x, weights, options);
    return kept === undefined
      ? broadcastTo(arange(x.backend, units), [x.shape[0] as number, units])
      : kept.indices;
  });
}

/**
 * What an override adds to a layer's output: (new - old activations) times the rows of wOut [F, Dout]. Being added, it
 * leaves the layer itself, its path and its gradient unchanged, and is 0 where nothing changes.
 *
 * @throws TopKError INVALID_OPTION for units that the layer lacks or that are named twice, SHAPE_MISMATCH.
 */
export function overrideChange(
  path: string,
  { units, activations: wanted }: ActivationOverride,
  { indices, activations }: KeptUnits,
  wOut: Tensor,
): Tensor {
  const { backend, dtype } = activations;
  const [hidden, outputDim] = wOut.shape as readonly [number, number];
  checkUnits(path, units, hidden);
  const leading = indices.shape.slice(0, -1);
  const tokens = sizeOf(leading);
  const kept = indices.shape.at(-1) as number;
  const count = units.length;
  return scope(() => {
    const list = tensor(backend, Int32Array.from(units), [1, count], 'i32');
    const all = putAlong(reshape(indices, [tokens, kept]), reshape(activations, [tokens, kept]), hidden);
    const before = takeAlong(all, broadcastTo(list, [tokens, count]));
    const shape = [...leading, count];
    const given = typeof wanted === 'function' ? wanted(reshape(before, shape)) : wanted;
    const after =
      typeof given === 'number'
        ? fill(backend, given, [tokens, count], dtype)
        : reshape(checkShape(path, given, shape), [tokens, count]);
    const rows = reshape(gatherRows(reshape(wOut, [1, hidden, outputDim]), list), [count, outputDim]);
    return reshape(matmul(sub(after, before), rows), [...leading, outputDim]);
  });
}

function checkUnits(path: string, units: readonly number[], hidden: number): void {
  const seen = new Set<number>();
  for (const unit of units) {
    if (Number.isInteger(unit) && unit >= 0 && unit < hidden && !seen.has(unit)) seen.add(unit);
    else {
      throw new TopKError('INVALID_OPTION', `${path}: bad unit to override`, {
        expected: `different whole numbers from 0 to ${hidden - 1}`,
        got: seen.has(unit) ? `${unit} twice` : describeValue(unit),
      });
    }
  }
  if (seen.size > 0) return;
  throw new TopKError('INVALID_OPTION', `${path}: no unit to override`, {
    expected: 'at least one',
    got: '0',
    fix: 'Return undefined to leave the layer as it is',
  });
}

function checkShape(path: string, x: Tensor, shape: readonly number[]): Tensor {
  if (sameShape(x.shape, shape)) return x;
  throw new TopKError('SHAPE_MISMATCH', `${path}: the overriding activations have the wrong shape`, {
    expected: formatShape(shape),
    got: formatShape(x.shape),
  });
}
