import {
  add,
  aNumber,
  arange,
  cast,
  concat,
  div,
  exp,
  fill,
  gatherRows,
  le,
  matmul,
  max,
  maxOver,
  mul,
  narrow,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  reshape,
  scope,
  sub,
  sum,
  type Tensor,
  TopKError,
  tensor,
  toeplitzProduct,
  where,
} from '@topk-attention/core';
import {
  initializers,
  type Mechanism,
  type MechanismCall,
  type MechanismRefusals,
  parameterOf,
} from '@topk-attention/nn';
import { perHead, unit } from './features.js';
import { refuseIdle, requireNumber, requireWhole, shown } from './inputs.js';
import { stepWithKeys } from './kept-tokens.js';
import { asOtherForm, notSoftmax } from './refusals.js';
import { detached } from './without-gradient.js';

export interface RelativeKernelOptions {
  /** Distances that have a bias of their own: up to `length - 1` tokens. Farther ones share the last. */
  readonly length: number;
  /** Random features. Default 64. */
  readonly features?: number;
  /** 'fft' costs n log n; 'direct' computes all pairs. Both give the same numbers, up to rounding. Default 'fft'. */
  readonly form?: 'fft' | 'direct';
  /** With 'fft', columns of values that are transformed at a time: memory grows with features times this. Default: all. */
  readonly slab?: number;
  /** Training steps after which `redraw` draws new directions; 0 for never. Default 1000. */
  readonly redrawEvery?: number;
}

const kinds: OptionKinds<RelativeKernelOptions> = {
  length: required(aNumber),
  features: aNumber,
  form: oneOf('fft', 'direct'),
  slab: aNumber,
  redrawEvery: aNumber,
};

/** Of the form by transforms. */
const transformRefusals: MechanismRefusals = {
  mask: 'Its sums go over all pairs of a distance at once, so only padding and causality can be hidden',
  bias: 'Its own biases are those of distances; others would need the weights of all pairs',
  dropout: 'It never computes the weights of single pairs, which could be dropped',
};

/** Sums of weights below this share of those without biases are rounding. */
const FLOOR = 1e-8;

/** Rows of a causal layer that are summed directly: a choice. */
const FIRST_ROWS = 64;

/**
 * Kernelized attention with relative positions (Luo et al., 2021): an estimate of exp(q . k + b) over unit queries and keys,
 * where the bias b of a distance is learned and exact. Sums over the keys are products with Toeplitz matrices. Positive
 * random features of the buffer `directions` [heads, r, headDim]; biases `offsets` [heads, 2 length - 1], key less query,
 * from 0. In f32, biases of a head that lie far apart lose digits to the transform: at 10, up to 4e-4 of the largest output
 * were measured. Causally, later tokens change rows from the 65th on by rounding, and a NaN among them reaches these:
 * `form: 'direct'` is strict. A layer's `scale` multiplies the product of unit vectors. A token of zeros stays zeros, with a
 * gradient 1e6 times that of its unit vector. Decoding keeps keys and values, as softmax does.
 *
 * @throws TopKError INVALID_OPTION, also for a slab of the direct form; when applied also for a scale whose features may
 * overflow f32: above 32, or less from a headDim of 41 on, 18.65 for 64, 9.52 for 128.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: relativeKernel({ length: 512 }) });
 */
export function relativeKernel(options: RelativeKernelOptions): Mechanism {
  const {
    length,
    features = 64,
    form = 'fft',
    slab,
    redrawEvery = 1000,
  } = readOptions('relativeKernel', options, kinds);
  requireWhole('relativeKernel', 'length', length, 1);
  requireWhole('relativeKernel', 'features', features, 1);
  requireWhole('relativeKernel', 'redrawEvery', redrawEvery, 0);
  if (form === 'direct') refuseIdle('relativeKernel', 'slab', slab, "form: 'fft'", "form: 'direct'");
  if (slab !== undefined) requireWhole('relativeKernel', 'slab', slab, 1);

  const attend = (call: MechanismCall): Tensor =>
    scope(() => {
      const made = form === 'direct' ? direct(call, length) : byTransforms(call, length, slab);
      return cast(made, call.value.dtype);
    });

  return {
    name: 'relative kernel',
    takes: ['causal', 'keyLengths', 'decoding'],
    self: 'only',
    refusals: {
      ...(form === 'direct' ? asOtherForm('fft') : transformRefusals),
      relativeBias: 'It has learned biases of distances of its own',
      groupedHeads: 'Each head has directions and biases of its own for queries and keys',
      source: 'Distances are those of tokens of one text',
      zeroShot: `It sees unit queries and keys, and learns biases of distances. ${notSoftmax}`,
    },
    declare: ({ heads, headDim }) => ({
      directions: {
        shape: [heads, features, headDim],
        initializer: initializers.normal(),
        trainable: false,
        ...(redrawEvery > 0 && { redrawEvery }),
      },
      offsets: { shape: [heads, 2 * length - 1], initializer: initializers.zeros },
    }),
    attend,
    step: (call, state) =>
      // The queries are the last ones: their row of distances is no whole Toeplitz matrix.
      stepWithKeys(call, state, (whole) => scope(() => cast(direct(whole, length), call.value.dtype))),
  };
}

/** Of narrow heads too, whose features would not overflow yet: a choice. */
const LARGEST_SCALE = 32;

/** Products of two features and their sums end at exp(88) in f32. */
const LARGEST_EXPONENT = 85;

/**
 * Products of the features of a query and a key are at most exp(2 sqrt(scale) |w| - scale), where a direction w of that
 * width is hardly ever longer than its root and 4. The scale at which that is the largest exponent, cut to two digits.
 */
function largestScale(headDim: number): number {
  const longest = Math.sqrt(headDim) + 4;
  const room = longest ** 2 - LARGEST_EXPONENT;
  if (room <= 0) return LARGEST_SCALE;
  const root = longest - Math.sqrt(room);
  return Math.min(LARGEST_SCALE, Math.floor(100 * root ** 2) / 100);
}

function requireScale(scale: number, headDim: number): void {
  requireNumber('relativeKernel', 'scale', scale, 'positive');
  const largest = largestScale(headDim);
  if (scale <= largest) return;
  throw new TopKError('INVALID_OPTION', 'relativeKernel: random features would overflow', {
    expected: `a scale of at most ${largest} for a headDim of ${headDim}`,
    got: String(scale),
    fix: 'Queries and keys are unit vectors, whose product needs no small scale: the default is 1',
  });
}

/** exp(w . x - |x|^2 / 2), of unit vectors times the root of the scale; padding gives 0. */
function featuresOf(call: MechanismCall): { readonly query: Tensor; readonly key: Tensor } {
  const { scale = 1 } = call.options;
  requireScale(scale, call.query.shape[3] as number);
  const directions = cast(parameterOf(call.context, 'directions'), 'f32');
  const of = (x: Tensor): Tensor => exp(sub(perHead(unit(x, Math.sqrt(scale)), directions), scale / 2));
  return { query: of(cast(call.query, 'f32')), key: shown(call, of(shown(call, call.key))) };
}

/**
 * exp(b - largest b) of the distances -(n - 1) to n - 1, [heads, 2 n - 1], 0 for later keys if causal. The largest cancels
 * in the quotient.
 */
function factorsOf(call: MechanismCall, length: number, keys: number): Tensor {
  const offsets = cast(parameterOf(call.context, 'offsets'), 'f32');
  const heads = offsets.shape[0] as number;
  const causal = call.options.causal === true;
  // Of each distance the place of its bias; farther ones share the last.
  const places = Int32Array.from({ length: 2 * keys - 1 }, (_, at) => {
    const distance = at - keys + 1;
    return Math.max(-length + 1, Math.min(length - 1, distance)) + length - 1;
  });
  const table = reshape(offsets, [heads, 2 * length - 1, 1]);
  const index = tensor(offsets.backend, places, [1, places.length]);
  const all = add(fill(offsets.backend, 0, [heads, 1], 'i32'), index);
  const own = reshape(gatherRows(table, all), [heads, places.length]);
  const distances = reshape(arange(offsets.backend, places.length, 1 - keys), [1, places.length]);
  const seen = causal ? where(le(distances, 0), own, Number.NEGATIVE_INFINITY) : own;
  return exp(sub(seen, detached(maxOver(seen, { axes: [1], keepDims: true }))));
}

/** By all pairs; the queries may be the last ones of the keys. */
function direct(call: MechanismCall, length: number): Tensor {
  const { query, key } = featuresOf(call);
  const [heads, queries, keys] = [query.shape[1], query.shape[2], key.shape[2]] as [number, number, number];
  const factors = factorsOf(call, length, keys);
  const start = keys - queries;
  // Distance j - i of the query at start + i stands at keys - 1 + j - start - i.
  const places = Int32Array.from({ length: queries * keys }, (_, at) => {
    const [i, j] = [Math.floor(at / keys), at % keys];
    return keys - 1 + j - start - i;
  });
  const table = reshape(factors, [heads, 2 * keys - 1, 1]);
  const index = add(
    fill(factors.backend, 0, [heads, 1], 'i32'),
    tensor(factors.backend, places, [1, places.length]),
  );
  const matrix = reshape(gatherRows(table, index), [1, heads, queries, keys]);
  const weights = mul(matmul(query, key, { transposeB: true }), matrix);
  const total = sum(weights, { axes: [3], keepDims: true });
  return div(matmul(weights, shown(call, call.value)), where(le(total, 0), 1, total));
}

/**
 * By Fourier transforms, whose rounding is relative to the largest sums. Causally the first rows have the smallest ones, as
 * they see few keys: those are summed directly.
 */
function byTransforms(call: MechanismCall, length: number, slab: number | undefined): Tensor {
  const keys = call.key.shape[2] as number;
  if (call.options.causal !== true) return transformed(call, length, slab);
  const first = Math.min(keys, FIRST_ROWS);
  const of = (x: Tensor): Tensor => narrow(x, 2, 0, first);
  const { query, key, value } = call;
  const own = direct({ ...call, query: of(query), key: of(key), value: of(value) }, length);
  if (first === keys) return own;
  const rest = narrow(transformed(call, length, slab), 2, first, keys - first);
  return concat([own, rest], 2);
}

/** All of them by the Fourier transform, some columns of the values at a time. */
function transformed(call: MechanismCall, length: number, slab: number | undefined): Tensor {
  const { query, key } = featuresOf(call);
  const value = shown(call, call.value);
  const [batch, heads, keys, features] = key.shape as readonly [number, number, number, number];
  const width = value.shape[3] as number;
  const factors = factorsOf(call, length, keys);
  /** Sums of some columns [B, heads, n, c] by the weights of all pairs. */
  const summed = (columns: Tensor): Tensor => {
    const count = columns.shape[3] as number;
    const flat = batch * heads * keys;
    const products = matmul(reshape(key, [flat, features, 1]), reshape(columns, [flat, 1, count]));
    const sums = toeplitzProduct(factors, reshape(products, [batch, heads, keys, features * count]));
    const rows = matmul(reshape(query, [flat, 1, features]), reshape(sums, [flat, features, count]));
    return reshape(rows, [batch, heads, keys, count]);
  };
  // A column of ones gives the sums of the weights.
  const columns = concat([value, fill(value.backend, 1, [batch, heads, keys, 1], value.dtype)], 3);
  const step = slab ?? width + 1;
  const parts: Tensor[] = [];
  for (let start = 0; start <= width; start += step) {
    parts.push(scope(() => summed(narrow(columns, 3, start, Math.min(step, width + 1 - start)))));
  }
  const sums = concat(parts, 3);
  const total = narrow(sums, 3, width, 1);
  // A true sum is positive; rounding may leave less. A text without keys has sums of 0. Factors are at most 1.
  const bound = detached(matmul(query, sum(key, { axes: [2], keepDims: true }), { transposeB: true }));
  const safe = max(total, max(mul(bound, FLOOR), 1e-30));
  return div(narrow(sums, 3, 0, width), safe);
}
