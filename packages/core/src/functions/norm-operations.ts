import { bytesPerElement } from '../contract/dtype.js';
import type {
  NormBackwardInputs,
  NormGradients,
  NormInputs,
  NormOutputs,
  NormRequest,
} from '../contract/norm.js';
import { defineOperation, type Operation, type PassBytes } from '../operation/define.js';
import { mapRoles } from '../operation/roles.js';
import { add, cast, mul, rsqrt, sub } from '../ops/elementwise.js';
import { mean, sum } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

const bytesOf = ({ rows, width, dtype }: NormRequest, tensors: number): PassBytes => ({
  inputs: tensors * rows * width * bytesPerElement(dtype),
  output: rows * width * bytesPerElement(dtype),
  saved: 0,
});

const isEmpty = ({ rows, width }: NormRequest): boolean => rows * width === 0;

/*
 * Two operations instead of one with a backward pass, so that gradients of gradients go through the composed version of
 * the second. The second recomputes mean and scale from x: they are a small part of its work.
 */

export const normOperation: Operation<NormRequest, NormInputs<Tensor>, NormOutputs<Tensor>> = defineOperation<
  NormRequest,
  NormInputs<Tensor>,
  NormOutputs<Tensor>
>({
  name: 'norm',
  title: 'norm',
  outputs: ({ rows, width, dtype }) => ({ output: { shape: [rows, width], dtype } }),
  isEmpty,
  forward: {
    bytes: (request) => bytesOf(request, 1),
    composed: (request) => ({
      scratchBytes: () => 8 * request.rows * request.width,
      run: (inputs) =>
        inSingle(request, inputs, ({ x, weight, bias }) => {
          const scaled = scope(() => {
            const { centred, scale } = statisticsOf(x, request);
            return mul(mul(centred, scale), weight);
          });
          return { output: bias === undefined ? scaled : add(scaled, bias) };
        }),
    }),
  },
});

export const normGradientOperation: Operation<
  NormRequest,
  NormBackwardInputs<Tensor>,
  NormGradients<Tensor>
> = defineOperation<NormRequest, NormBackwardInputs<Tensor>, NormGradients<Tensor>>({
  name: 'normGradient',
  title: 'gradient of a norm',
  outputs: ({ rows, width, dtype, hasBias }) => ({
    x: { shape: [rows, width], dtype },
    weight: { shape: [width], dtype },
    ...(hasBias && { bias: { shape: [width], dtype } }),
  }),
  isEmpty,
  forward: {
    bytes: (request) => bytesOf(request, 2),
    composed: (request) => ({
      scratchBytes: () => 16 * request.rows * request.width,
      run: (inputs) =>
        inSingle(request, inputs, ({ x, weight, dOutput }) => {
          const { centred, scale } = statisticsOf(x, request);
          const unit = mul(centred, scale);
          const g = mul(dOutput, weight);
          const along = scope(() => mul(unit, meanOf(mul(g, unit))));
          const across =
            request.kind === 'layer' ? scope(() => sub(sub(g, meanOf(g)), along)) : sub(g, along);
          return {
            x: mul(across, scale),
            weight: scope(() => sum(mul(dOutput, unit), { axes: [0] })),
            ...(request.hasBias && { bias: sum(dOutput, { axes: [0] }) }),
          };
        }),
    }),
  },
});

/** Runs a norm's ops in f32, whatever the dtype of the request. */
function inSingle<Inputs extends object, Outputs extends object>(
  { dtype }: NormRequest,
  inputs: Inputs,
  run: (inputs: Inputs) => Outputs,
): Outputs {
  if (dtype === 'f32') return scope(() => run(inputs));
  return scope(() => {
    const wide = mapRoles(inputs, (one: Tensor) => cast(one, 'f32')) as Inputs;
    return mapRoles(run(wide), (one: Tensor) => cast(one, dtype)) as Outputs;
  });
}

/** x (for a layer norm, minus its mean), and 1 / sqrt of its mean square. */
function statisticsOf(
  x: Tensor,
  { kind, epsilon }: NormRequest,
): { readonly centred: Tensor; readonly scale: Tensor } {
  return scope(() => {
    const centred = kind === 'layer' ? sub(x, meanOf(x)) : x.alias();
    return { centred, scale: rsqrt(add(meanOf(mul(centred, centred)), epsilon)) };
  });
}

const meanOf = (x: Tensor): Tensor => mean(x, { axes: [-1], keepDims: true });
