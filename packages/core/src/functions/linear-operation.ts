import { bytesPerElement } from '../contract/dtype.js';
import type {
  LinearGradientInputs,
  LinearGradientRequest,
  LinearGradients,
  LinearInputs,
  LinearOutputs,
  LinearRequest,
} from '../contract/linear.js';
import { defineOperation, type Operation } from '../operation/define.js';
import { add } from '../ops/elementwise.js';
import { matmul } from '../ops/matmul.js';
import { sum } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { activate } from './activations.js';

const outputBytes = ({ rows, outputDim, dtype }: LinearRequest): number =>
  rows * outputDim * bytesPerElement(dtype);

type Form = Pick<LinearRequest, 'activation' | 'transposeWeight'> &
  Partial<Pick<LinearRequest, 'keepsPreactivations'>>;

/** By ops, which tapes record one by one; x may have any leading axes. */
export function linearByOps(
  { x, weight, bias }: LinearInputs<Tensor>,
  { activation, transposeWeight, keepsPreactivations }: Form,
): LinearOutputs<Tensor> {
  return scope(() => {
    const preactivations = scope(() => {
      const product = matmul(x, weight, { transposeB: transposeWeight });
      return bias === undefined ? product : add(product, bias);
    });
    if (activation === undefined) return { output: preactivations };
    const output = activate(preactivations, activation);
    return { output, ...(keepsPreactivations && { preactivations }) };
  });
}

/** A linear layer with what follows its product. Its gradients are operations of their own: see `linear`. */
export const linearOperation: Operation<
  LinearRequest,
  LinearInputs<Tensor>,
  LinearOutputs<Tensor>
> = defineOperation<LinearRequest, LinearInputs<Tensor>, LinearOutputs<Tensor>>({
  name: 'linear',
  title: 'linear layer',
  outputs: ({ rows, outputDim, dtype, keepsPreactivations }) => {
    const spec = { shape: [rows, outputDim], dtype };
    return { output: spec, ...(keepsPreactivations && { preactivations: spec }) };
  },
  isEmpty: ({ rows, outputDim }) => rows * outputDim === 0,
  forward: {
    bytes: (request) => {
      const { rows, inputDim, outputDim, dtype, keepsPreactivations } = request;
      return {
        inputs: (rows + outputDim) * inputDim * bytesPerElement(dtype),
        output: (keepsPreactivations ? 2 : 1) * outputBytes(request),
        saved: 0,
      };
    },
    composed: (request) => ({
      scratchBytes: () => 2 * outputBytes(request),
      run: (inputs) => linearByOps(inputs, request),
    }),
  },
});

/** The gradient of the weight: x^T dOutput, or transposed as the weight is. */
export function weightGradient(
  { x, dOutput }: LinearGradientInputs<Tensor>,
  { transposeWeight }: Pick<LinearRequest, 'transposeWeight'>,
): Tensor {
  const [rows, columns] = transposeWeight ? [dOutput, x] : [x, dOutput];
  return matmul(rows, columns, { transposeA: true });
}

/** The gradients of weight and bias together: both go through all rows of dOutput. */
export const linearGradientOperation: Operation<
  LinearGradientRequest,
  LinearGradientInputs<Tensor>,
  LinearGradients<Tensor>
> = defineOperation<LinearGradientRequest, LinearGradientInputs<Tensor>, LinearGradients<Tensor>>({
  name: 'linearGradient',
  title: 'gradient of a linear layer',
  outputs: ({ inputDim, outputDim, dtype, transposeWeight }) => ({
    weight: { shape: transposeWeight ? [outputDim, inputDim] : [inputDim, outputDim], dtype },
    bias: { shape: [outputDim], dtype },
  }),
  // Without inputs the bias still has a gradient.
  isEmpty: ({ rows, outputDim }) => rows * outputDim === 0,
  forward: {
    bytes: ({ rows, inputDim, outputDim, dtype }) => ({
      inputs: rows * (inputDim + outputDim) * bytesPerElement(dtype),
      output: (inputDim + 1) * outputDim * bytesPerElement(dtype),
      saved: 0,
    }),
    composed: (request) => ({
      scratchBytes: () => 0,
      run: (inputs) => ({
        weight: weightGradient(inputs, request),
        bias: sum(inputs.dOutput, { axes: [0] }),
      }),
    }),
  },
});
