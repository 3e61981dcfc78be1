import {
  add,
  concat,
  custom,
  elementwiseProgram,
  fill,
  linear,
  mapElements,
  matmul,
  mul,
  scope,
  type Tensor,
  tensor,
  terms,
} from '@topk-attention/core';
import { byFours } from './by-fours.js';

/** x [B, H, L, d] -> 1, x and zeros: [B, H, L, byFours(1 + d)]. */
export function linearMonomials(x: Tensor): Tensor {
  const own = x.shape.slice(0, -1);
  const width = x.shape.at(-1) as number;
  return scope(() => {
    const constants = (value: number, count: number): Tensor =>
      fill(x.backend, value, [...own, count], x.dtype);
    return concat([constants(1, 1), x, constants(0, byFours(1 + width) - 1 - width)], 3);
  });
}

/** How many monomials of degree 0 to 2 there are of d variables. */
export function countMonomials(width: number): number {
  return ((width + 1) * (width + 2)) / 2;
}

/** Matrices that pick a factor of each monomial, with what is added where the factor is 1. */
interface Factors {
  /** [d, F] */
  readonly weights: Float64Array;
  /** [F] */
  readonly bias: Float64Array;
}

/**
 * A function that gives the monomials x_a x_b with a <= b of 1, x_1, ..., x_d, squares over sqrt(2), and zeros, f32
 * [B, H, L, byFours((d + 1) (d + 2) / 2)]: the products of those of x and y sum to 1 + x.y + (x.y)^2 / 2. Both factors are
 * picked by products with matrices of zeros and ones, which is exact, and made again in the backward pass: of all of their
 * width the result alone is kept.
 */
export function quadraticMonomials(): (x: Tensor) => Tensor {
  let known: { readonly width: number; readonly factors: readonly [Factors, Factors] } | undefined;
  return (x) => {
    const width = x.shape.at(-1) as number;
    if (known?.width !== width) known = { width, factors: factorsOf(width) };
    const { factors } = known;
    const [made] = custom(
      'monomials',
      [x],
      () => {
        const own = factors.map((one) => uploaded(x, one)) as [Uploaded, Uploaded];
        const [a, b] = own;
        const product = scope(() => mul(picked(x, a), picked(x, b)));
        return { outputs: [product], saved: [x, a.weights, a.bias, b.weights, b.bias] };
      },
      (_ops, [g], saved) => {
        if (g === undefined) return [];
        const [own, ...rest] = saved as [Tensor, Tensor, Tensor, Tensor, Tensor];
        const [weightsA, biasA, weightsB, biasB] = rest;
        const a = { weights: weightsA, bias: biasA };
        return [scope(() => gradientOf(own, g, a, { weights: weightsB, bias: biasB }))];
      },
    );
    return made as Tensor;
  };
}

function factorsOf(width: number): readonly [Factors, Factors] {
  const count = byFours(countMonomials(width));
  const made = [0, 1].map(() => ({
    weights: new Float64Array(width * count),
    bias: new Float64Array(count),
  })) as [Factors, Factors];
  let at = 0;
  for (let a = 0; a <= width; a++) {
    for (let b = a; b <= width; b++) {
      for (const [{ weights, bias }, factor] of [
        [made[0], a],
        [made[1], b],
      ] as const) {
        if (factor === 0) bias[at] = 1;
        else weights[(factor - 1) * count + at] = 1;
      }
      if (a === b && a > 0) made[0].weights[(a - 1) * count + at] = Math.SQRT1_2;
      at++;
    }
  }
  return made;
}

/** The same on a backend. */
interface Uploaded {
  readonly weights: Tensor;
  readonly bias: Tensor;
}

function uploaded({ backend, shape, dtype }: Tensor, { weights, bias }: Factors): Uploaded {
  return {
    weights: tensor(backend, weights, [shape.at(-1) as number, bias.length], dtype),
    bias: tensor(backend, bias, [bias.length], dtype),
  };
}

/** A factor of each monomial of x. */
function picked(x: Tensor, { weights, bias }: Uploaded): Tensor {
  return linear(x, weights, bias);
}

const products = elementwiseProgram({ inputs: ['g', 'a', 'b'] }, ({ g, a, b }) => ({
  da: terms.mul(g, b),
  db: terms.mul(g, a),
}));

function gradientOf(x: Tensor, g: Tensor, first: Uploaded, second: Uploaded): Tensor {
  const [a, b] = [picked(x, first), picked(x, second)];
  const { da, db } = mapElements(products, { g, a, b });
  a.dispose();
  b.dispose();
  const back = (of: Tensor, { weights }: Uploaded): Tensor => matmul(of, weights, { transposeB: true });
  return add(back(da, first), back(db, second));
}
