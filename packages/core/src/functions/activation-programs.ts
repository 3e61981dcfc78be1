import type { ElementwiseProgram, Expression } from '../contract/elementwise.js';
import { elementwiseProgram, terms } from '../elementwise/program.js';

/** A function of one number, and the gradient of x from x and the gradient g of the value. */
export interface PointwisePrograms {
  readonly value: ElementwiseProgram<'y'>;
  readonly gradient: ElementwiseProgram<'dx'>;
}

const { add, erf, exp, mul, sigmoid, sub, tanh } = terms;

function programs(
  value: (x: Expression) => Expression,
  derivative: (x: Expression) => Expression,
): PointwisePrograms {
  return {
    value: elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ y: value(x) })),
    gradient: elementwiseProgram({ inputs: ['x', 'g'] }, ({ x, g }) => ({ dx: mul(g, derivative(x)) })),
  };
}

const twicePhi = (x: Expression): Expression => add(erf(mul(x, Math.SQRT1_2)), 1);

/** x Phi(x): Phi(x) + x phi(x). */
export const geluPrograms: PointwisePrograms = programs(
  (x) => mul(mul(x, 0.5), twicePhi(x)),
  (x) => {
    const density = mul(exp(mul(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return add(mul(twicePhi(x), 0.5), mul(x, density));
  },
);

const CUBIC = 0.044715;
const SCALE = Math.sqrt(2 / Math.PI);

/** x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3): (1 + t) / 2 + x (1 - t^2) u' / 2. */
export const geluTanhPrograms: PointwisePrograms = programs(
  (x) => mul(mul(x, 0.5), add(tanh(mul(add(x, mul(mul(x, mul(x, x)), CUBIC)), SCALE)), 1)),
  (x) => {
    const square = mul(x, x);
    const t = tanh(mul(add(x, mul(mul(x, square), CUBIC)), SCALE));
    const slope = mul(add(mul(square, 3 * CUBIC), 1), SCALE);
    return add(mul(add(t, 1), 0.5), mul(mul(mul(x, 0.5), sub(1, mul(t, t))), slope));
  },
);

/** x sigmoid(x): s (1 + x (1 - s)). */
export const siluPrograms: PointwisePrograms = programs(
  (x) => mul(x, sigmoid(x)),
  (x) => {
    const s = sigmoid(x);
    return mul(s, add(mul(x, sub(1, s)), 1));
  },
);
