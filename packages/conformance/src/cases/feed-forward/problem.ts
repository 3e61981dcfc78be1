import {
  type Activation,
  type Backend,
  type FeedForwardSelect,
  pullback,
  type Tensor,
  tensor,
  topKFeedForward,
} from '@topk-attention/core';
import type { Nd } from '../../harness/support/nd.js';
import { decode, encode } from '../../harness/support/workbench.js';

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
export async function run(
  backend: Backend,
  problem: FeedForwardProblem,
  cotangent?: Nd,
  storage: 'f32' | 'f16' = 'f32',
): Promise<FeedForwardAnswer> {
  const tensors: Tensor[] = [];
  const up = (x: Nd): Tensor => {
    const made = tensor(backend, encode(x.data, storage), x.shape, storage);
    tensors.push(made);
    return made;
  };
  const read = async (x: Tensor): Promise<number[]> => {
    tensors.push(x);
    return decode(await x.data(), x.dtype);
  };
  const { x, wIn, wOut, bIn, wGate, bOut, kept, activation, select, tokenChunk } = problem;
  try {
    const parameters = {
      x: up(x),
      wIn: up(wIn),
      ...(bIn && { bIn: up(bIn) }),
      ...(wGate && { wGate: up(wGate) }),
      wOut: up(wOut),
      ...(bOut && { bOut: up(bOut) }),
    };
    const options = { k: kept, activation, select, ...(tokenChunk !== undefined && { tokenChunk }) };
    const forward = ({ x: input, ...weights }: typeof parameters): Tensor =>
      topKFeedForward(input, weights, options);
    if (cotangent === undefined) return { output: await read(forward(parameters)), gradients: {} };
    const pulled = pullback((p: typeof parameters) => forward(p), parameters);
    const made = pulled.backward(up(cotangent));
    const output = await read(pulled.output);
    const gradients: FeedForwardAnswer['gradients'] = {};
    for (const role of weightRoles) {
      const gradient = made[role];
      if (gradient !== undefined) gradients[role] = await read(gradient);
    }
    pulled.dispose();
    return { output, gradients };
  } finally {
    for (const one of tensors) one.dispose();
  }
}
