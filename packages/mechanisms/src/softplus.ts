import { custom, elementwiseProgram, mapElements, type Tensor, type Term, terms } from '@topk-attention/core';

const { abs, add, div, exp, max, mul, neg } = terms;

/** 1 / (2 n + 1): of the series of atanh(z) / z in z^2. What is left out is below 1e-17 for z up to 1 / 3. */
const SERIES = Array.from({ length: 16 }, (_, at) => 1 / (2 * at + 1));

/** log(1 + y) = 2 atanh(y / (2 + y)) for y from 0 to 1, of which 1 + y would lose all digits. */
function log1p(y: Term): Term {
  const z = div(y, add(y, 2));
  const square = mul(z, z);
  const series = SERIES.slice(0, -1).reduceRight<Term>(
    (sum, one) => add(mul(square, sum), one),
    SERIES.at(-1) as number,
  );
  return mul(mul(z, 2), series);
}

const value = elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({
  made: add(max(x, 0), log1p(exp(neg(abs(x))))),
}));

/**
 * log(1 + exp(x)), without overflow, and with all its digits where it is near 0: quotients of features need them. One pass
 * over memory where a backend runs programs in one.
 */
export function softplus(x: Tensor): Tensor {
  const [made] = custom(
    'softplus',
    [x],
    () => ({ outputs: [mapElements(value, { x }).made], saved: [x] }),
    (ops, [g], [of]) => [ops.mul(g as Tensor, ops.sigmoid(of as Tensor))],
  );
  return made as Tensor;
}
