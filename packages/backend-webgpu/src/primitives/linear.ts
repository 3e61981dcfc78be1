import type { DType, Shape } from '@topk-attention/core';
import type {
  FusedOperation,
  LinearInputs,
  LinearOutputs,
  LinearRequest,
} from '@topk-attention/core/backend';
import { wholeOf } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { chooseProduct, describeVariant, launchProduct, productScratch } from './matmul-choose.js';
import type { Operand, Product } from './matmul-product.js';

type Allocate = (shape: Shape, dtype: DType) => WebGpuTensor;

/** Linear layers of f32: the bias, the activation and a copy of what goes into it belong to the product's launch. */
export function linearLayers(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate,
): FusedOperation<LinearRequest, LinearInputs<WebGpuTensor>, LinearOutputs<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const { rows, inputDim, outputDim, activation, keepsPreactivations } = request;
      const sizes = { batch: 1, rows, inner: inputDim, columns: outputDim };
      const variant = chooseProduct(facts, sizes);
      const scratchBytes = productScratch(variant, sizes);
      return {
        scratchBytes: () => scratchBytes,
        describe: () => ({ variant: describeVariant(variant) }),
        run({ x, weight, bias }) {
          const output = allocate([rows, outputDim], 'f32');
          const preactivations = keepsPreactivations ? allocate([rows, outputDim], 'f32') : undefined;
          launchProduct(stream, {
            ...productOf(request, x.span, weight.span, output.span),
            epilogue: { bias: bias && wholeOf(bias.span), activation, preactivations: preactivations?.span },
          });
          return { output, ...(preactivations && { preactivations }) };
        },
      };
    },
  };
}

function productOf(
  { rows, inputDim, outputDim, transposeWeight }: LinearRequest,
  x: Span,
  weight: Span,
  out: Span,
): Product {
  const operand = (span: Span, stride: number): Operand => ({ ...wholeOf(span), batchStep: 0, stride });
  return {
    ...{ dtype: 'f32', transposeA: false, transposeB: transposeWeight, batch: 1 },
    ...{ rows, inner: inputDim, columns: outputDim },
    a: operand(x, inputDim),
    b: operand(weight, transposeWeight ? inputDim : outputDim),
    out: operand(out, outputDim),
  };
}

function refusalsOf(
  { dtype, rows, inputDim, outputDim }: LinearRequest,
  { bindingBytes }: DeviceFacts,
): readonly string[] {
  const refusals: string[] = [];
  if (dtype !== 'f32') refusals.push(`${dtype}: made for f32`);
  if (inputDim === 0) refusals.push('no inputs: there is no product');
  // Products of one column run transposed, where a bias would go by rows.
  if (outputDim === 1) refusals.push('one output: its product runs as one of a single row');
  if (4 * Math.max(rows * inputDim, inputDim * outputDim, rows * outputDim) > bindingBytes) {
    refusals.push(`a tensor exceeds a binding of ${bindingBytes} bytes`);
  }
  return refusals;
}
