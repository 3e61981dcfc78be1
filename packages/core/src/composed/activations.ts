import { add, erf, le, mul, sigmoid, tanh, where } from '../ops/elementwise.js';
import type { Activation } from '../plan/request.js';
import { scope } from '../scope.js';
import type { Tensor } from '../tensor.js';

/** x where positive, else 0; NaN stays NaN. */
export function relu(x: Tensor): Tensor {
  return scope(() => where(le(x, 0), 0, x));
}

/** x Phi(x), with the error function. */
export function gelu(x: Tensor): Tensor {
  return scope(() => mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1)));
}

/** The tanh approximation of GELU, as T5 v1.1's `gelu_new`. */
export function geluTanh(x: Tensor): Tensor {
  return scope(() => {
    const inner = mul(add(x, mul(mul(x, mul(x, x)), 0.044715)), Math.sqrt(2 / Math.PI));
    return mul(mul(x, 0.5), add(tanh(inner), 1));
  });
}

/** x sigmoid(x) */
export function silu(x: Tensor): Tensor {
  return scope(() => mul(x, sigmoid(x)));
}

/** The activation of a name. */
export function activate(x: Tensor, activation: Activation): Tensor {
  switch (activation) {
    case 'relu':
      return relu(x);
    case 'gelu':
      return gelu(x);
    case 'gelu_tanh':
      return geluTanh(x);
    case 'silu':
      return silu(x);
    default:
      return activation satisfies never;
  }
}
