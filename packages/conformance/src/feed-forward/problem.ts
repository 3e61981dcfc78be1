import {
  type Activation,
  type Backend,
  type FeedForwardRequest,
  type FeedForwardSelect,
  pullback,
  type Tensor,
  tensor,
  topKFeedForward,
} from '@topk-attention/core';
import {
  type FeedForwardArrays,
  referenceFeedForward,
  referenceFeedForwardBackward,
} from '@topk-attention/core/reference';
import { check } from '../support/assert.js';
import { type Nd, sizeOf } from '../support/nd.js';
import { decode, encode } from '../support/workbench.js';

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
type WeightRole = (typeof weightRoles)[number];

export interface FeedForwardAnswer {
  readonly output: readonly number[];
  readonly gradients: Partial<Record<WeightRole, readonly number[]>>;
}

function requestOf(problem: FeedForwardProblem): FeedForwardRequest {
  const [inputDim = 0, hidden = 0] = problem.wIn.shape;
  return {
    tokens: sizeOf(problem.x.shape) / inputDim,
    inputDim,
    hidden,
    outputDim: problem.wOut.shape[1] ?? 0,
    dtype: 'f32',
    k: problem.kept >= hidden ? 'all' : problem.kept,
    activation: problem.activation,
    gated: problem.wGate !== undefined,
    biasIn: problem.bIn !== undefined,
    biasOut: problem.bOut !== undefined,
    select: problem.select,
    second: 'gather',
    selection: { levels: 1 },
  };
}

export function outputShape({ x, wOut }: FeedForwardProblem): readonly number[] {
  return [...x.shape.slice(0, -1), wOut.shape[1] ?? 0];
}

/** The oracle's answer; gradients only with a cotangent. */
export function solve(problem: FeedForwardProblem, cotangent?: Nd): FeedForwardAnswer {
  const request = requestOf(problem);
  const present = weightRoles.flatMap((role) => {
    const x = problem[role];
    return x === undefined ? [] : [[role, Float64Array.from(x.data)] as const];
  });
  const { x, wIn, wOut, ...rest } = Object.fromEntries(present);
  check(x !== undefined && wIn !== undefined && wOut !== undefined, 'conformance: incomplete problem');
  const arrays: FeedForwardArrays = { x, wIn, wOut, ...rest };
  const output = [...referenceFeedForward(request, arrays)];
  if (cotangent === undefined) return { output, gradients: {} };
  const all = referenceFeedForwardBackward(request, arrays, Float64Array.from(cotangent.data));
  return { output, gradients: Object.fromEntries(present.map(([role]) => [role, [...all[role]]])) };
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
