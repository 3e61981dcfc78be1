import { TopKError } from '../errors.js';
import { add, mul, rsqrt, sub } from '../ops/elementwise.js';
import { mean } from '../ops/reduce.js';
import { scope } from '../scope.js';
import { formatShape } from '../shape.js';
import type { Tensor } from '../tensor.js';

/** x / rms(x) * weight over the last axis; weight [D]. Default epsilon 1e-6 (T5's layer norm). */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon = 1e-6): Tensor {
  checkWidth('rmsNorm', x, weight);
  return scope(() => {
    const meanSquare = mean(mul(x, x), { axes: [-1], keepDims: true });
    return mul(mul(x, rsqrt(add(meanSquare, epsilon))), weight);
  });
}

/** (x - mean) / std * weight + bias over the last axis; weight and bias [D]. Default epsilon 1e-5. */
export function layerNorm(x: Tensor, weight: Tensor, bias?: Tensor, epsilon = 1e-5): Tensor {
  checkWidth('layerNorm', x, weight);
  return scope(() => {
    const centred = sub(x, mean(x, { axes: [-1], keepDims: true }));
    const variance = mean(mul(centred, centred), { axes: [-1], keepDims: true });
    const scaled = mul(mul(centred, rsqrt(add(variance, epsilon))), weight);
    return bias === undefined ? scaled : add(scaled, bias);
  });
}

function checkWidth(where: string, x: Tensor, weight: Tensor): void {
  if (x.rank > 0 && weight.rank === 1 && weight.shape[0] === x.shape.at(-1)) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: weight does not fit`, {
    expected: `[${x.shape.at(-1)}]`,
    got: formatShape(weight.shape),
  });
}
