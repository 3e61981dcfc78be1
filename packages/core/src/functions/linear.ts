import { custom } from '../autograd/custom.js';
import { TopKError } from '../contract/errors.js';
import type { Activation } from '../contract/feed-forward.js';
import type { LinearGradientRequest, LinearInputs, LinearRequest } from '../contract/linear.js';
import { formatShape, sizeOf } from '../contract/shape.js';
import { runOperation } from '../operation/run.js';
import { add } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { sum } from '../ops/reduce.js';
import { aBoolean, type OptionKinds, oneOf, readOptions } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { activationGradient } from './activations.js';
import { linearByOps, linearGradientOperation, linearOperation, weightGradient } from './linear-operation.js';

export interface LinearOptions {
  /** Applied to the sums. Default: none. */
  readonly activation?: Activation;
  /** True if the weight is stored [out, in], as in PyTorch. Default false: [in, out]. */
  readonly transposeWeight?: boolean;
}

const linearKinds: OptionKinds<LinearOptions> = {
  activation: oneOf('relu', 'gelu', 'gelu_tanh', 'silu'),
  transposeWeight: aBoolean,
};

/**
 * activation(x weight + bias): x [..., in], weight [in, out], bias [out] -> [..., out], f32 or f16. Sums in f32. One pass
 * on backends that fuse it, elsewhere composed of ops.
 *
 * @throws TopKError RANK_MISMATCH, SHAPE_MISMATCH, DTYPE_MISMATCH, MIXED_BACKENDS, INVALID_OPTION.
 *
 * @example
 * const hidden = linear(x, wIn, undefined, { activation: 'gelu' });
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor, options?: LinearOptions): Tensor {
  const { activation, transposeWeight = false } = readOptions('linear', options, linearKinds);
  const [inputDim, outputDim] = checkLinear(x, weight, bias, transposeWeight);
  const isPlain = bias === undefined && activation === undefined;
  const isOfOne = [weight, bias ?? x].every(({ dtype }) => dtype === x.dtype);
  if (isPlain || !isOfOne || x.backend.fused?.linear === undefined) {
    return linearByOps(
      { x, weight, ...(bias && { bias }) },
      { ...(activation && { activation }), transposeWeight },
    ).output;
  }
  const rows = sizeOf(x.shape.slice(0, -1));
  const request: LinearRequest = {
    ...{ rows, inputDim, outputDim, dtype: x.dtype, transposeWeight, hasBias: bias !== undefined },
    ...(activation && { activation }),
    keepsPreactivations: false,
  };
  return scope(() => {
    const inputs = { x: reshape(x, [rows, inputDim]), weight, ...(bias && { bias }) };
    return reshape(recorded(request, inputs), [...x.shape.slice(0, -1), outputDim]);
  });
}

/**
 * The operation as one entry on the tapes. Its gradient needs the derivative of the activation: relu's follows from the
 * output; for the others the same launch writes the pre-activations too, if a tape follows. That is one write of 4 (2)
 * bytes a number, where computing them again would repeat the product.
 */
function recorded(request: LinearRequest, inputs: LinearInputs<Tensor>): Tensor {
  const { activation, transposeWeight } = request;
  const { x, weight, bias } = inputs;
  const [output] = custom(
    'linear',
    [x, weight, ...(bias === undefined ? [] : [bias])],
    (isTracked, [ofX, ofWeight]) => {
      const keepsPreactivations = isTracked && activation !== undefined && activation !== 'relu';
      const made = runOperation(linearOperation, {
        where: 'linear',
        request: { ...request, keepsPreactivations },
        inputs,
      });
      const { output, preactivations } = made;
      const outputs = [output, ...(preactivations === undefined ? [] : [preactivations])];
      const of = activation === undefined ? undefined : outputs.at(-1);
      return { outputs, saved: [ofWeight ? x : undefined, ofX ? weight : undefined, of] };
    },
    // The pre-activations are an output, so that gradients of gradients go through them.
    (_ops, [dOutput, dPreactivations], [savedX, savedWeight, of], [, , ofBias]) => {
      const pulled =
        dOutput === undefined || activation === undefined
          ? dOutput
          : activationGradient(of as Tensor, dOutput, activation);
      const g = pulled && dPreactivations ? add(pulled, dPreactivations) : (pulled ?? dPreactivations);
      if (g === undefined) return [];
      const dX = savedWeight && matmul(g, savedWeight, { transposeB: !transposeWeight });
      // A weight that is frozen, and perhaps its bias.
      if (savedX === undefined) return [dX, undefined, ofBias ? sum(g, { axes: [0] }) : undefined];
      const inputs = { x: savedX, dOutput: g };
      if (!ofBias) return [dX, weightGradient(inputs, request)];
      const where = 'linear.backward';
      const made = runOperation(linearGradientOperation, { where, request: gradientOf(request), inputs });
      return [dX, made.weight, made.bias];
    },
  );
  return output as Tensor;
}

function gradientOf(request: LinearRequest): LinearGradientRequest {
  const { rows, inputDim, outputDim, dtype, transposeWeight } = request;
  return { rows, inputDim, outputDim, dtype, transposeWeight };
}

/** The extents [in, out]. */
function checkLinear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | undefined,
  transposeWeight: boolean,
): readonly [number, number] {
  requireTensor('linear', 'x', x);
  requireTensor('linear', 'weight', weight);
  if (bias !== undefined) requireTensor('linear', 'bias', bias);
  const [rows = 0, columns = 0] = weight.shape;
  const [inputDim, outputDim] = transposeWeight ? [columns, rows] : [rows, columns];
  const hasRanks = x.rank > 1 && weight.rank === 2 && (bias?.rank ?? 1) === 1;
  // A bias of one element would broadcast silently.
  if (hasRanks && x.shape.at(-1) === inputDim && (bias === undefined || bias.shape[0] === outputDim)) {
    return [inputDim, outputDim];
  }
  throw new TopKError(hasRanks ? 'SHAPE_MISMATCH' : 'RANK_MISMATCH', 'linear: incompatible shapes', {
    expected: `x [..., in], weight ${transposeWeight ? '[out, in]' : '[in, out]'}, bias [out]`,
    got: [x, weight, ...(bias ? [bias] : [])].map(({ shape }) => formatShape(shape)).join(', '),
  });
}
