import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import { add, mul, rsqrt, sub } from '../ops/elementwise.js';
import { mean } from '../ops/reduce.js';
import { describeValue } from '../tensor/describe-value.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** x / rms(x) * weight over the last axis; weight [D]. Default epsilon 1e-6 (T5's layer norm). */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon = 1e-6): Tensor {
  checkNorm('rmsNorm', x, epsilon, { weight });
  return scope(() => {
    const meanSquare = mean(mul(x, x), { axes: [-1], keepDims: true });
    return mul(mul(x, rsqrt(add(meanSquare, epsilon))), weight);
  });
}

/** (x - mean) / std * weight + bias over the last axis; weight and bias [D]. Default epsilon 1e-5. */
export function layerNorm(x: Tensor, weight: Tensor, bias?: Tensor, epsilon = 1e-5): Tensor {
  checkNorm('layerNorm', x, epsilon, { weight, ...(bias !== undefined && { bias }) });
  return scope(() => {
    const centred = sub(x, mean(x, { axes: [-1], keepDims: true }));
    const variance = mean(mul(centred, centred), { axes: [-1], keepDims: true });
    const scaled = mul(mul(centred, rsqrt(add(variance, epsilon))), weight);
    return bias === undefined ? scaled : add(scaled, bias);
  });
}

function checkNorm(
  where: string,
  x: Tensor,
  epsilon: number,
  vectors: { readonly weight: Tensor; readonly bias?: Tensor },
): void {
  requireTensor(where, 'x', x);
  for (const [name, one] of Object.entries(vectors)) {
    requireTensor(where, name, one);
    if (x.rank > 0 && one.rank === 1 && one.shape[0] === x.shape.at(-1)) continue;
    throw new TopKError('SHAPE_MISMATCH', `${where}: ${name} does not fit`, {
      expected: `[${x.shape.at(-1)}]`,
      got: formatShape(one.shape),
    });
  }
  if (typeof epsilon === 'number' && epsilon >= 0) return;
  throw new TopKError('INVALID_OPTION', `${where}: bad epsilon`, {
    expected: 'a number of at least 0',
    got: describeValue(epsilon),
  });
}
