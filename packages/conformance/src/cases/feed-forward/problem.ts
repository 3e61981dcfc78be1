import {
  type Activation,
  type Backend,
  type FeedForwardSelect,
  type Tensor,
  topKFeedForward,
} from '@topk-attention/core';
import { differentiate } from '../../harness/support/differentiate.js';
import type { Nd } from '../../harness/support/nd.js';

/** A feed-forward call with its numbers. */
export interface FeedForwardProblem {
  /** [..., D] */
  readonly x: Nd;
  readonly wIn: Nd;
  readonly bIn?: Nd;
  readonly wGate?: Nd;
  readonly wOut: Nd;
  readonly bOut?: Nd;
  readonly kept: number;
  readonly activation: Activation;
  readonly select: FeedForwardSelect;
  readonly tokenChunk?: number;
}

export const weightRoles = ['x', 'wIn', 'bIn', 'wGate', 'wOut', 'bOut'] as const;
export type WeightRole = (typeof weightRoles)[number];

export interface FeedForwardAnswer {
  readonly output: readonly number[];
  readonly gradients: Partial<Record<WeightRole, readonly number[]>>;
}

export function outputShape({ x, wOut }: FeedForwardProblem): readonly number[] {
  return [...x.shape.slice(0, -1), wOut.shape[1] ?? 0];
}

/** Core's layer on a backend, all in one storage type. Leaves nothing behind. */
export function run(
  backend: Backend,
  { x, wIn, bIn, wGate, wOut, bOut, kept, activation, select, tokenChunk }: FeedForwardProblem,
  cotangent?: Nd,
  storage: 'f32' | 'f16' = 'f32',
): Promise<FeedForwardAnswer> {
  const options = { k: kept, activation, select, ...(tokenChunk !== undefined && { tokenChunk }) };
  return differentiate<WeightRole>(
    backend,
    { x, wIn, ...(bIn && { bIn }), ...(wGate && { wGate }), wOut, ...(bOut && { bOut }) },
    ({ x: input, ...weights }) =>
      topKFeedForward(input as Tensor, weights as Parameters<typeof topKFeedForward>[1], options),
    cotangent,
    storage,
  );
}
