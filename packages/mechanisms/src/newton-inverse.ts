import {
  abs,
  aNumber,
  custom,
  div,
  eq,
  formatShape,
  matmul,
  maxOver,
  mul,
  type OptionKinds,
  readOptions,
  scope,
  sub,
  sum,
  type Tensor,
  TopKError,
  tensor,
  where,
} from '@topk-attention/core';
import { requireNumber, requireWhole } from './inputs.js';

export interface NewtonOptions {
  /** Steps; each doubles the number of right digits. Default 20. */
  readonly iterations?: number;
  /** Added to the diagonal first. Default 0. */
  readonly ridge?: number;
}

const kinds: OptionKinds<NewtonOptions> = { iterations: aNumber, ridge: aNumber };

/**
 * The inverse of symmetric matrices P [..., m, m] by Newton's iteration A <- 2 A - A P A from A = 1.8 / |P|_1^2 P. 1.8, not
 * 2: with 2 the eigenvector of equal row sums is lost at once. Small eigenvalues take more steps, and until then count for
 * less. For a singular P it nears the pseudo-inverse, and then leaves it: each step doubles the rounding there, which in f32
 * shows from some 25 steps on; zeros give zeros. Matrices that are not symmetric may give anything, NaN too. `requireInverse`
 * tells whether it is an inverse. The gradient is that of an inverse, -A^T g A^T, without the steps.
 *
 * @throws TopKError INVALID_OPTION, SHAPE_MISMATCH
 */
export function newtonInverse(matrix: Tensor, options?: NewtonOptions): Tensor {
  const { iterations = 20, ridge = 0 } = readOptions('newtonInverse', options, kinds);
  requireWhole('newtonInverse', 'iterations', iterations, 1);
  requireNumber('newtonInverse', 'ridge', ridge, 0);
  const [rows, columns] = matrix.shape.slice(-2);
  if (matrix.rank < 2 || rows !== columns || rows === 0) {
    throw new TopKError('SHAPE_MISMATCH', 'newtonInverse: not square matrices', {
      expected: '[..., m, m] with m of at least 1',
      got: formatShape(matrix.shape),
    });
  }
  const [inverse] = custom(
    'newtonInverse',
    [matrix],
    () => {
      const made = scope(() => inverted(withRidge(matrix, ridge), iterations));
      return { outputs: [made], saved: [made] };
    },
    (ops, [g], [own]) => {
      const a = own as Tensor;
      const product = ops.matmul(ops.matmul(a, g as Tensor, { transposeA: true }), a, { transposeB: true });
      return [ops.neg(product)];
    },
  );
  return inverse as Tensor;
}

function inverted(matrix: Tensor, iterations: number): Tensor {
  const columns = sum(abs(matrix), { axes: [-2], keepDims: true });
  const norm = maxOver(columns, { axes: [-1], keepDims: true });
  // Never the norm's square, which f32 may not hold.
  const safe = where(eq(norm, 0), 1, norm);
  let current = mul(div(matrix, safe), div(1.8, safe));
  for (let step = 0; step < iterations; step++) {
    const next = scope(() => sub(mul(current, 2), matmul(matmul(current, matrix), current)));
    current.dispose();
    current = next;
  }
  return current;
}

/** P with `ridge` added to its diagonal. */
function withRidge(matrix: Tensor, ridge: number): Tensor {
  if (ridge === 0) return matrix.alias();
  return sub(matrix, mul(identityLike(matrix), -ridge));
}

/** The identity of a matrix's size, which broadcasts to it. */
export function identityLike(matrix: Tensor): Tensor {
  const size = matrix.shape.at(-1) as number;
  const shape = [...matrix.shape.slice(0, -2).map(() => 1), size, size];
  const values = Float64Array.from({ length: size * size }, (_, at) => (at % (size + 1) === 0 ? 1 : 0));
  return tensor(matrix.backend, values, shape);
}

export interface InverseCheck extends Pick<NewtonOptions, 'ridge'> {
  /** Largest entry of A P - I that passes. Default 1e-3. */
  readonly tolerance?: number;
}

const checkKinds: OptionKinds<InverseCheck> = { ridge: aNumber, tolerance: aNumber };

/**
 * Reads back whether `newtonInverse` has converged: whether A P is the identity. For debugging, as it waits.
 *
 * @throws TopKError SINGULAR_MATRIX with the largest departure
 */
export async function requireInverse(matrix: Tensor, inverse: Tensor, options?: InverseCheck): Promise<void> {
  const { ridge = 0, tolerance = 1e-3 } = readOptions('requireInverse', options, checkKinds);
  const away = scope(() => {
    const product = matmul(inverse, withRidge(matrix, ridge));
    return maxOver(abs(sub(product, identityLike(matrix))));
  });
  const [largest = Number.NaN] = await away.data();
  away.dispose();
  if (largest <= tolerance) return;
  throw new TopKError('SINGULAR_MATRIX', 'newtonInverse has not reached an inverse', {
    expected: `entries of A P - I of at most ${tolerance}`,
    got: String(largest),
    fix: 'Give a larger ridge or more iterations, or fewer landmarks: some nearly coincide',
  });
}
