import { custom } from '../autograd/custom.js';
import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import type { Activation } from '../contract/feed-forward.js';
import { mapElements } from '../elementwise/map-elements.js';
import { add, cast, erf, le, mul, sigmoid, tanh, where } from '../ops/elementwise.js';
import { describeValue } from '../tensor/describe-value.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  geluPrograms,
  geluTanhPrograms,
  type PointwisePrograms,
  siluPrograms,
} from './activation-programs.js';

/** x where positive, else 0; NaN stays NaN. */
export function relu(x: Tensor): Tensor {
  return scope(() => where(le(x, 0), 0, x));
}

/** x Phi(x), with the error function. */
export function gelu(x: Tensor): Tensor {
  return pointwise('gelu', x, geluPrograms, composedGelu);
}

function composedGelu(x: Tensor): Tensor {
  return scope(() => {
    // Inner scopes: hidden layers are wide, so each intermediate is freed before the next but one is made.
    const twicePhi = scope(() =>
      add(
        scope(() => erf(mul(x, Math.SQRT1_2))),
        1,
      ),
    );
    return mul(mul(x, 0.5), twicePhi);
  });
}

/** The tanh approximation of GELU, T5 v1.1's `gelu_new`. */
export function geluTanh(x: Tensor): Tensor {
  return pointwise('geluTanh', x, geluTanhPrograms, composedGeluTanh);
}

function composedGeluTanh(x: Tensor): Tensor {
  return scope(() => {
    const cubic = scope(() =>
      mul(
        scope(() => mul(x, mul(x, x))),
        0.044715,
      ),
    );
    const inner = scope(() => mul(add(x, cubic), Math.sqrt(2 / Math.PI)));
    cubic.dispose();
    const twicePhi = scope(() =>
      add(
        scope(() => tanh(inner)),
        1,
      ),
    );
    inner.dispose();
    return mul(mul(x, 0.5), twicePhi);
  });
}

/** x sigmoid(x) */
export function silu(x: Tensor): Tensor {
  return pointwise('silu', x, siluPrograms, (wide) => scope(() => mul(wide, sigmoid(wide))));
}

/**
 * An activation and its gradient as one pass each, on backends that run elementwise programs; elsewhere by ops. In f32 for
 * f16 too.
 */
function pointwise(
  where: string,
  x: Tensor,
  { value, gradient }: PointwisePrograms,
  composed: (x: Tensor) => Tensor,
): Tensor {
  requireTensor(where, 'x', x);
  if (!isFloat(x.dtype)) return composed(x);
  const dtype = x.dtype === 'f16' ? 'f16' : 'f32';
  if (x.backend.fused?.elementwise === undefined) {
    return scope(() => cast(composed(cast(x, 'f32')), dtype));
  }
  const [y] = custom(
    where,
    [x],
    () => ({ outputs: [mapElements(value, { x }, undefined, { dtype }).y], saved: [x] }),
    (_ops, [g], [saved]) =>
      g === undefined ? [] : [mapElements(gradient, { x: saved as Tensor, g }, undefined, { dtype }).dx],
  );
  return y as Tensor;
}

/**
 * The gradient of x, of its dtype, from x and the gradient g of `activate(x, activation)`. For relu its value may stand for x: both
 * are positive, or NaN, in the same places.
 */
export function activationGradient(x: Tensor, g: Tensor, activation: Activation): Tensor {
  if (activation === 'relu') return scope(() => where(le(x, 0), 0, g));
  const dtype = x.dtype === 'f16' ? 'f16' : 'f32';
  return mapElements(programs[activation].gradient, { x, g }, undefined, { dtype }).dx;
}

const programs = { gelu: geluPrograms, gelu_tanh: geluTanhPrograms, silu: siluPrograms } as const;

/** Applies the named activation. @throws TopKError INVALID_OPTION for an unknown name. */
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
      throw new TopKError('INVALID_OPTION', 'activate: bad activation', {
        expected: "'relu', 'gelu', 'gelu_tanh' or 'silu'",
        got: describeValue(activation satisfies never),
      });
  }
}
