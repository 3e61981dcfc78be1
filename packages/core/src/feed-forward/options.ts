import { commonBackend } from '../apply.js';
import { clampK } from '../attention/options.js';
import type { Backend, FeedForwardInputs } from '../backend.js';
import { TopKError } from '../errors.js';
import { checkLimits } from '../plan/check-limits.js';
import { chooseSelection } from '../plan/plan-attention.js';
import { chooseSecondProduct } from '../plan/plan-feed-forward.js';
import type { Activation, FeedForwardRequest, FeedForwardSelect } from '../plan/request.js';
import {
  aBoolean,
  aNumber,
  aTensor,
  checkedLater,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
} from '../read-options.js';
import { requireTensor } from '../require-tensor.js';
import { formatShape, sameShape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** Weights of a feed-forward layer: act(x wIn + bIn) [* (x wGate)] wOut + bOut. */
export interface FeedForwardWeights {
  /** [D, F] */
  readonly wIn: Tensor;
  /** [F] */
  readonly bIn?: Tensor;
  /** [D, F]: makes the layer gated, as T5 v1.1's. */
  readonly wGate?: Tensor;
  /** [F, Dout] */
  readonly wOut: Tensor;
  /** [Dout] */
  readonly bOut?: Tensor;
}

export interface FeedForwardOptions {
  /** Hidden units kept per token; F or more keeps them all. */
  readonly k: number;
  /** Default 'relu'. */
  readonly activation?: Activation;
  /**
   * What ranks the hidden units: their raw dot products (the paper, section "feed-forward"), or the size of what each
   * adds to the output, |act(s) g| * ||wOut row||. Default 'preactivation'.
   */
  readonly select?: FeedForwardSelect;
  /** Tokens at a time. Default: planned. */
  readonly tokenChunk?: number;
  /** Upper bound in bytes for all but the inputs. Default: none. */
  readonly budgetBytes?: number;
}

/** Sizes alone: what planning and `explainFeedForward` need. */
export interface FeedForwardSizes {
  readonly tokens: number;
  /** D */
  readonly inputDim: number;
  /** F */
  readonly hidden: number;
  /** Dout */
  readonly outputDim: number;
  /** With a wGate. Default false. */
  readonly gated?: boolean;
}

export const feedForwardKinds: OptionKinds<FeedForwardOptions> = {
  k: checkedLater(),
  activation: oneOf('relu', 'gelu', 'gelu_tanh', 'silu'),
  select: oneOf('preactivation', 'contribution'),
  tokenChunk: aNumber,
  budgetBytes: aNumber,
};

const weightKinds: OptionKinds<FeedForwardWeights> = {
  wIn: required(aTensor),
  bIn: aTensor,
  wGate: aTensor,
  wOut: required(aTensor),
  bOut: aTensor,
};

export const sizeKinds: OptionKinds<FeedForwardSizes> = {
  tokens: required(aNumber),
  inputDim: required(aNumber),
  hidden: required(aNumber),
  outputDim: required(aNumber),
  gated: aBoolean,
};

export interface FeedForwardCall {
  readonly backend: Backend;
  readonly request: FeedForwardRequest;
}

const where = 'topKFeedForward';

/** Checks a call and gathers it as data. */
export function checkFeedForward(
  x: Tensor,
  weights: FeedForwardWeights,
  options: FeedForwardOptions,
): FeedForwardCall {
  requireTensor(where, 'x', x);
  const { wIn, bIn, wGate, wOut, bOut } = readOptions(`${where}: weights`, weights, weightKinds);
  const list = [x, wIn, bIn, wGate, wOut, bOut].filter((one) => one !== undefined);
  const backend = commonBackend(where, list);
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
  };
  const request = feedForwardRequest(backend, sizes, options);
  return {
    backend,
    request: {
      ...request,
      dtype: x.dtype === 'f16' ? 'f16' : 'f32',
      biasIn: bIn !== undefined,
      biasOut: bOut !== undefined,
    },
  };
}

/** The request of a layer of these sizes, f32 and without biases. */
export function feedForwardRequest(
  backend: Backend,
  sizes: FeedForwardSizes,
  options: FeedForwardOptions,
): FeedForwardRequest {
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
  const { limits } = backend.capabilities;
  const clamped = clampK(where, options.k, sizes.hidden);
  const k = clamped === sizes.hidden ? 'all' : clamped;
  return {
    ...sizes,
    gated: sizes.gated === true,
    dtype: 'f32',
    k,
    activation,
    biasIn: false,
    biasOut: false,
    select,
    second: chooseSecondProduct(k, sizes.hidden, sizes.outputDim, limits),
    selection: chooseSelection(k, sizes.hidden, limits),
  };
}

/** The same roles with each value replaced, in a fixed order. */
export function mapWeights<A, B>(inputs: FeedForwardInputs<A>, replace: (one: A) => B): FeedForwardInputs<B> {
  const { x, wIn, bIn, wGate, wOut, bOut } = inputs;
  return {
    x: replace(x),
    wIn: replace(wIn),
    ...(bIn !== undefined && { bIn: replace(bIn) }),
    ...(wGate !== undefined && { wGate: replace(wGate) }),
    wOut: replace(wOut),
    ...(bOut !== undefined && { bOut: replace(bOut) }),
  };
}

function requireShape(name: string, one: Tensor | undefined, shape: readonly number[]): void {
  if (one === undefined || sameShape(one.shape, shape)) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: ${name} does not fit`, {
    expected: formatShape(shape),
    got: formatShape(one.shape),
  });
}
