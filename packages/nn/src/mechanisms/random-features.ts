import {
  custom,
  elementwiseProgram,
  eq,
  mapElements,
  matmul,
  maxOver,
  mul as multiply,
  type Operations,
  add as plus,
  scope,
  sub as subtract,
  sum,
  type Tensor,
  terms,
  where,
} from '@topk-attention/core';
import type { Initializer } from '../declared/initializers.js';
import { orthonormalRows } from '../declared/orthogonal.js';
import { normalNumbers } from '../declared/random.js';

/**
 * Directions of random features [r, D]: blocks of D orthogonal rows, each as long as a Gaussian vector, so that every
 * row by itself is N(0, I).
 */
export const orthogonalFeatures: Initializer = ([features = 0, width = 0], seed) => {
  const rows = new Float64Array(features * width);
  // Stream 0 gives the lengths; each block has one of the others.
  const gaussian = normalNumbers(seed, features * width);
  for (let start = 0, block = 1; start < features; start += width, block++) {
    const count = Math.min(width, features - start);
    rows.set(orthonormalRows(count, width, seed, block), start * width);
  }
  for (let row = 0; row < features; row++) {
    const length = Math.hypot(...gaussian.subarray(row * width, (row + 1) * width));
    for (let at = row * width; at < (row + 1) * width; at++) rows[at] = (rows[at] as number) * length;
  }
  return rows;
};

export interface SoftmaxFeatures {
  /**
   * exp(logits - peak) + epsilon, [..., L, r]; zeros where a logit is -inf. Logits are x . direction - |x|^2 / 2: the product
   * of their exps for x and y, averaged over the directions, has the expected value exp(x . y).
   */
  readonly features: Tensor;
  /** The largest logit over the axes, which keep an extent of 1; -inf where all are. It has no gradient. */
  readonly largest: Tensor;
}

export interface SoftmaxFeatureOptions {
  /**
   * The peak is the largest logit over these, the last axis among them: it keeps exp within range and does not change
   * attention's quotient.
   */
  readonly axes: readonly number[];
  /** bool that broadcasts to [..., L, 1]: logits elsewhere are -inf, and x is finite there. Default: all. */
  readonly visible?: Tensor | undefined;
}

const { add, choose, exp, max, mul, sub } = terms;
/** Below any logit but -inf. */
const LOWEST = -3e38;

/**
 * A function that makes positive features of the softmax kernel, of x [..., L, D] and directions [r, D]. One operation with
 * a gradient of its own, since tensors [..., L, r] are most of the memory of a step: of those it makes, the features alone
 * are kept. What is subtracted from a row's products is one number, so that those tensors are passed over three times: by
 * the product, by the maximum and by exp.
 */
export function softmaxFeatures(
  epsilon: number,
): (x: Tensor, directions: Tensor, options: SoftmaxFeatureOptions) => SoftmaxFeatures {
  const value = elementwiseProgram({ inputs: ['product', 'shift'] }, ({ product, shift }) => {
    const near = sub(product, shift);
    const own = exp(near);
    return { y: epsilon === 0 ? own : choose(sub(near, LOWEST), add(own, epsilon), own) };
  });
  // exp is its own derivative. Where it is 0 the product keeps a NaN.
  const gradient = elementwiseProgram({ inputs: ['y', 'g'] }, ({ y, g }) => {
    const own = sub(y, epsilon);
    return { dx: epsilon === 0 ? mul(y, g) : choose(own, mul(own, g), mul(y, 0)) };
  });
  const fromHalfSquare = elementwiseProgram({ inputs: ['dx', 'x', 'total'] }, ({ dx, x, total }) => ({
    dx: sub(dx, mul(x, total)),
  }));
  return (x, directions, options) => {
    const [features, largest] = custom(
      'softmaxFeatures',
      [x, directions],
      () => {
        const product = matmul(x, directions, { transposeB: true });
        const { largest, shift } = peaksOf(x, product, options);
        const { y } = mapElements(value, { product, shift });
        product.dispose();
        return { outputs: [y, largest], saved: [y, x, directions] };
      },
      (ops, [g], [y, own, rows], [ofX, ofDirections]) => {
        if (g === undefined) return [];
        const { dx: ofLogits } = mapElements(gradient, { y: y as Tensor, g });
        const ofRows = ofDirections ? directionsGradient(ops, ofLogits, own as Tensor) : undefined;
        if (!ofX) return [undefined, ofRows];
        const dx = ops.matmul(ofLogits, rows as Tensor);
        const total = ops.sum(ofLogits, { axes: [-1], keepDims: true });
        return [mapElements(fromHalfSquare, { dx, x: own as Tensor, total }).dx, ofRows];
      },
    );
    return { features: features as Tensor, largest: largest as Tensor };
  };
}

/** The largest logits, and what is subtracted from the products of each row, [..., L, 1]. */
function peaksOf(
  x: Tensor,
  product: Tensor,
  { axes, visible }: SoftmaxFeatureOptions,
): { readonly largest: Tensor; readonly shift: Tensor } {
  return scope(() => {
    const last = product.rank - 1;
    const others = axes.filter((axis) => axis !== last);
    const square = sum(multiply(x, x), { axes: [-1], keepDims: true });
    const own = maxOver(product, { axes: [last], keepDims: true });
    const { logit } = mapElements(logitOf, { own, square });
    const seen = visible === undefined ? logit : where(visible, logit, Number.NEGATIVE_INFINITY);
    const largest = others.length === 0 ? seen : maxOver(seen, { axes: others, keepDims: true });
    // A row by itself subtracts its own peak; others that and how far the largest logit lies above theirs. That is half of
    // |x|^2 and the largest logit, but never below the row's peak by rounding, which with long x is more than exp can take.
    const shift = others.length === 0 ? finite(own) : plus(own, subtract(finite(largest), logit));
    return {
      largest,
      shift: visible === undefined ? shift : where(visible, shift, Number.POSITIVE_INFINITY),
    };
  });
}

const logitOf = elementwiseProgram({ inputs: ['own', 'square'] }, ({ own, square }) => ({
  logit: sub(own, mul(square, 0.5)),
}));

/** With 0 in place of -inf, which is nothing to subtract. */
const finite = (peak: Tensor): Tensor => where(eq(peak, Number.NEGATIVE_INFINITY), 0, peak);

/** A function that makes features of the ReLU kernel, relu(x . direction) + epsilon; otherwise as `softmaxFeatures`. */
export function reluFeatures(epsilon: number): (x: Tensor, directions: Tensor) => Tensor {
  const value = elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ y: add(max(x, 0), epsilon) }));
  const gradient = elementwiseProgram({ inputs: ['y', 'g'] }, ({ y, g }) => ({
    dx: choose(sub(y, epsilon), g, mul(y, 0)),
  }));
  return (x, directions) => {
    const [features] = custom(
      'reluFeatures',
      [x, directions],
      (_isTracked, [ofX, ofDirections]) => {
        const products = matmul(x, directions, { transposeB: true });
        const { y } = mapElements(value, { x: products });
        products.dispose();
        return { outputs: [y], saved: [y, ofDirections ? x : undefined, ofX ? directions : undefined] };
      },
      (ops, [g], [y, own, rows]) => {
        if (g === undefined) return [];
        const { dx } = mapElements(gradient, { y: y as Tensor, g });
        return [rows && ops.matmul(dx, rows), own && directionsGradient(ops, dx, own)];
      },
    );
    return features as Tensor;
  };
}

/** From the gradients of the products x directions^T [..., L, r]. Directions that are drawn and not learned need none. */
function directionsGradient(ops: Operations, ofProducts: Tensor, x: Tensor): Tensor {
  const [features, width] = [ofProducts.shape.at(-1) as number, x.shape.at(-1) as number];
  const tokens = x.size / width;
  return ops.matmul(ops.reshape(ofProducts, [tokens, features]), ops.reshape(x, [tokens, width]), {
    transposeA: true,
  });
}
