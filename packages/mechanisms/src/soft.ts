import {
  aBoolean,
  add,
  aNumber,
  arange,
  cast,
  div,
  eq,
  exp,
  fill,
  gelu,
  layerNorm,
  linear,
  logicalAnd,
  lt,
  matmul,
  max,
  mul,
  type OptionKinds,
  readOptions,
  reshape,
  rsqrt,
  scope,
  sub,
  sum,
  type Tensor,
  TopKError,
  transpose,
  where,
} from '@topk-attention/core';
import {
  initializers,
  type Mechanism,
  type MechanismCall,
  parameterOf,
  visibleKeys,
} from '@topk-attention/nn';
import { requireNumber, requireWhole, shown } from './inputs.js';
import { identityLike, newtonInverse } from './newton-inverse.js';
import { notSoftmax } from './refusals.js';

export interface SoftOptions {
  /** Landmarks, each the mean of a segment of the text. Default 49, if there is no `ratio`. */
  readonly landmarks?: number;
  /**
   * Tokens per landmark, for landmarks by a learned convolution with that width and stride, a layer norm and GELU. The
   * padded length must be a multiple of it.
   */
  readonly ratio?: number;
  /** SOFT-Norm: divides the inverse by the roots of the landmarks' row sums, on both sides. Default false. */
  readonly normalise?: boolean;
  /**
   * Newton steps of the inverse. Default 40: the kernel of 32 landmarks that are means of many tokens takes 30, and up to 40
   * in f32. The published code takes 20, with which outputs are off by up to 5 % there. The gradient is that of an inverse
   * which has converged, so that it is off by more. Without a ridge, and in f32, take 20: of a singular kernel each step
   * doubles the rounding.
   */
  readonly iterations?: number;
  /** Added to the diagonal of the landmarks' kernel, which is singular where two coincide. Default 0.01. */
  readonly ridge?: number;
}

const kinds: OptionKinds<SoftOptions> = {
  landmarks: aNumber,
  ratio: aNumber,
  normalise: aBoolean,
  iterations: aNumber,
  ridge: aNumber,
};

/**
 * SOFT (Lu et al., 2021; SOFT-Norm 2022): the Gaussian kernel exp(-|x - y|^2 / 2) of the queries with themselves, without
 * softmax, by landmarks: R A^-1 R^T V. Queries are keys: the layer has no `k_proj`. Rows are not normalised, so outputs
 * grow with the tokens near a query. Parameters with `ratio` only: `landmarks.*`, shared by the heads.
 *
 * @throws TopKError INVALID_OPTION; when applied SHAPE_MISMATCH for fewer tokens than landmarks, or a length that is no
 * multiple of the ratio.
 *
 * @example
 * const layer = attentionLayer({ width: 64, heads: 4, mechanism: soft({ landmarks: 32, normalise: true }) });
 */
export function soft(options?: SoftOptions): Mechanism {
  const {
    ratio,
    landmarks = ratio === undefined ? 49 : undefined,
    normalise = false,
    iterations = 40,
    ridge = 0.01,
  } = readOptions('soft', options, kinds);
  if (landmarks !== undefined) requireWhole('soft', 'landmarks', landmarks, 1);
  if (ratio !== undefined) requireWhole('soft', 'ratio', ratio, 1);
  requireWhole('soft', 'iterations', iterations, 1);
  requireNumber('soft', 'ridge', ridge, 0);
  if (landmarks !== undefined && ratio !== undefined) {
    throw new TopKError('INVALID_OPTION', 'soft: landmarks in two ways', {
      expected: 'landmarks or ratio',
      got: 'both',
    });
  }

  const attend = (call: MechanismCall): Tensor => {
    const { scale = (call.query.shape[3] as number) ** -0.5 } = call.options;
    requireNumber('soft', 'scale', scale, 'positive');
    const x = mul(shown(call, call.query), Math.sqrt(scale));
    // A ratio is there if landmarks are not.
    const marks = landmarks === undefined ? convolved(call, x, ratio as number) : pooled(call, x, landmarks);
    const visible = visibleKeys(call);
    const toMarks = (of: Tensor): Tensor => (marks.there === undefined ? of : where(marks.there, of, 0));
    const near = toMarks(gauss(x, marks.rows));
    const rows = visible === undefined ? near : where(visible, near, 0);
    const among = ofLandmarks(marks);
    let inverse = newtonInverse(among, { iterations, ridge });
    if (normalise) {
      const roots = rsqrt(sum(among, { axes: [3], keepDims: true }));
      inverse = mul(mul(inverse, roots), transpose(roots, [0, 1, 3, 2]));
    }
    const sums = matmul(rows, shown(call, call.value), { transposeA: true });
    return cast(matmul(rows, matmul(inverse, sums)), call.value.dtype);
  };

  return {
    name: normalise ? 'normalised SOFT' : 'SOFT',
    takes: ['keyLengths'],
    self: 'tied',
    refusals: {
      causal: 'Landmarks are means over the whole text, later tokens included',
      decoding: 'Landmarks are means over the whole text, which each token would change',
      mask: 'It computes the kernel of tokens and landmarks, never that of single pairs of tokens',
      bias: 'It computes the kernel of tokens and landmarks, never that of single pairs of tokens',
      relativeBias: 'It computes the kernel of tokens and landmarks, never that of single pairs of tokens',
      dropout: 'It computes the kernel of tokens and landmarks, never weights that could be dropped',
      groupedHeads: 'Each head has its own queries, which are its keys',
      source: 'Its queries are its keys',
      zeroShot: `It has no keys besides its queries. ${notSoftmax}`,
    },
    declare: ({ headDim }) => {
      if (ratio === undefined) return {};
      const bound = (ratio * headDim) ** -0.5;
      return {
        'landmarks.weight': { shape: [headDim, ratio * headDim], initializer: initializers.uniform(bound) },
        'landmarks.bias': { shape: [headDim], initializer: initializers.uniform(bound) },
        'landmarks.norm.weight': { shape: [headDim], initializer: initializers.ones },
        'landmarks.norm.bias': { shape: [headDim], initializer: initializers.zeros },
      };
    },
    attend: (call) => scope(() => attend(call)),
  };
}

interface Landmarks {
  /** [B, heads, m, d] */
  readonly rows: Tensor;
  /** bool [B, 1, 1, m]: which landmarks have tokens; undefined if all. */
  readonly there?: Tensor;
}

/** Means of `count` segments of each text. */
function pooled(call: MechanismCall, x: Tensor, count: number): Landmarks {
  const [batch, heads, length, width] = x.shape as readonly [number, number, number, number];
  if (length < count) {
    throw new TopKError('SHAPE_MISMATCH', 'soft: fewer tokens than landmarks', {
      expected: `at least ${count} tokens`,
      got: String(length),
      fix: 'Give fewer landmarks',
    });
  }
  const { keyLengths } = call.options;
  const lengths = keyLengths ?? fill(x.backend, length, [batch], 'i32');
  const positions = reshape(arange(x.backend, length), [1, 1, length]);
  // Whole numbers: the quotient is cut.
  const segments = div(mul(positions, count), max(reshape(lengths, [batch, 1, 1]), 1));
  const own = eq(segments, reshape(arange(x.backend, count), [1, count, 1]));
  const members = cast(logicalAnd(own, lt(positions, reshape(lengths, [batch, 1, 1]))), 'f32');
  const sizes = sum(members, { axes: [2], keepDims: true });
  const flat = reshape(transpose(x, [0, 2, 1, 3]), [batch, length, heads * width]);
  const means = div(matmul(members, flat), max(sizes, 1));
  const rows = transpose(reshape(means, [batch, count, heads, width]), [0, 2, 1, 3]);
  return keyLengths === undefined ? { rows } : { rows, there: reshape(lt(0, sizes), [batch, 1, 1, count]) };
}

/** A convolution of `ratio` tokens each. */
function convolved(call: MechanismCall, x: Tensor, ratio: number): Landmarks {
  const [batch, heads, length, width] = x.shape as readonly [number, number, number, number];
  if (length % ratio !== 0) {
    throw new TopKError('SHAPE_MISMATCH', 'soft: the ratio does not divide the length', {
      expected: `a multiple of ${ratio} tokens`,
      got: String(length),
      fix: 'Pad the text, with keyLengths, or give landmarks, which are means of any segments',
    });
  }
  const count = length / ratio;
  const of = (name: string): Tensor => cast(parameterOf(call.context, `landmarks.${name}`), 'f32');
  const windows = reshape(x, [batch, heads, count, ratio * width]);
  const mixed = linear(windows, of('weight'), of('bias'), { transposeWeight: true });
  const rows = gelu(layerNorm(mixed, of('norm.weight'), of('norm.bias')));
  const { keyLengths } = call.options;
  if (keyLengths === undefined) return { rows };
  const starts = reshape(mul(arange(x.backend, count), ratio), [1, 1, 1, count]);
  return { rows, there: lt(starts, reshape(keyLengths, [batch, 1, 1, 1])) };
}

/** exp(-|x - y|^2 / 2) for rows x [B, H, n, d] and y [B, H, m, d]. */
function gauss(x: Tensor, y: Tensor): Tensor {
  const squares = (of: Tensor): Tensor => sum(mul(of, of), { axes: [3], keepDims: true });
  const products = matmul(x, y, { transposeB: true });
  const distances = sub(add(squares(x), transpose(squares(y), [0, 1, 3, 2])), mul(products, 2));
  return exp(mul(max(distances, 0), -0.5));
}

/**
 * The kernel of the landmarks, where those without tokens are near to themselves alone. All are near to themselves: for
 * large ones the difference of squares would round to anything, and a row of zeros has no root.
 */
function ofLandmarks({ rows, there }: Landmarks): Tensor {
  const kernel = gauss(rows, rows);
  const own = identityLike(kernel);
  const known = where(eq(own, 1), 1, kernel);
  if (there === undefined) return known;
  return where(logicalAnd(there, transpose(there, [0, 1, 3, 2])), known, own);
}
