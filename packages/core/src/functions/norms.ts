import { custom } from '../autograd/custom.js';
import { TopKError } from '../contract/errors.js';
import type { NormInputs, NormRequest } from '../contract/norm.js';
import { formatShape, sizeOf } from '../contract/shape.js';
import { runOperation } from '../operation/run.js';
import { cast } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { describeValue } from '../tensor/describe-value.js';
import { requireTensor } from '../tensor/require-tensor.js';
import type { Tensor } from '../tensor/tensor.js';
import { normGradientOperation, normOperation } from './norm-operations.js';

/**
 * x / rms(x) * weight over the last axis; weight [D]. Default epsilon 1e-6 (T5's layer norm). Has the dtype of x, and is
 * computed in f32 for f16 too.
 */
export function rmsNorm(x: Tensor, weight: Tensor, epsilon = 1e-6): Tensor {
  checkNorm('rmsNorm', x, epsilon, { weight });
  return norm('rmsNorm', 'rms', { x, weight }, epsilon);
}

/** (x - mean) / std * weight + bias over the last axis; weight and bias [D]. Default epsilon 1e-5. As for `rmsNorm`. */
export function layerNorm(x: Tensor, weight: Tensor, bias?: Tensor, epsilon = 1e-5): Tensor {
  checkNorm('layerNorm', x, epsilon, { weight, ...(bias !== undefined && { bias }) });
  return norm('layerNorm', 'layer', { x, weight, ...(bias !== undefined && { bias }) }, epsilon);
}

function norm(
  where: string,
  kind: NormRequest['kind'],
  { x, weight, bias }: NormInputs<Tensor>,
  epsilon: number,
): Tensor {
  const width = x.shape.at(-1) as number;
  const rows = sizeOf(x.shape.slice(0, -1));
  // Tensors of two dtypes are computed in f32 between casts.
  const dtype = [x, weight, bias ?? x].every((one) => one.dtype === 'f16') ? 'f16' : 'f32';
  const request: NormRequest = { kind, rows, width, dtype, hasBias: bias !== undefined, epsilon };
  const own = (one: Tensor): Tensor => cast(one, dtype);
  const [output] = custom(
    where,
    [x, weight, ...(bias === undefined ? [] : [bias])],
    () => {
      const inputs = {
        x: own(reshape(x, [rows, width])),
        weight: own(weight),
        ...(bias !== undefined && { bias: own(bias) }),
      };
      const made = runOperation(normOperation, { where, request, inputs }).output;
      return { outputs: [reshape(cast(made, x.dtype), x.shape)], saved: [x, weight] };
    },
    (_ops, [dOutput], [savedX, savedWeight]) => {
      if (dOutput === undefined) return [];
      const inputs = {
        x: own(reshape(savedX as Tensor, [rows, width])),
        weight: own(savedWeight as Tensor),
        dOutput: own(reshape(dOutput, [rows, width])),
      };
      const made = runOperation(normGradientOperation, { where: `${where}.backward`, request, inputs });
      return [
        reshape(cast(made.x, x.dtype), x.shape),
        cast(made.weight, weight.dtype),
        ...(made.bias === undefined || bias === undefined ? [] : [cast(made.bias, bias.dtype)]),
      ];
    },
  );
  return output as Tensor;
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
    throw new TopKError('SHAPE_MISMATCH', `${where}: ${name} has the wrong shape`, {
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
