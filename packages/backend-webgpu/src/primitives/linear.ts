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
import {
  chooseProduct,
  describeVariant,
  fitsUnits,
  launchProduct,
  type MatmulVariant,
  productScratch,
} from './matmul-choose.js';
import type { Operand, Product } from './matmul-product.js';

type Allocate = (shape: Shape, dtype: DType) => WebGpuTensor;

/** Linear layers: the bias, the activation and a copy of what goes into it belong to the product's launch. */
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
      const dtype = request.dtype === 'f16' ? 'f16' : 'f32';
      const sizes = { batch: 1, rows, inner: inputDim, columns: outputDim };
      const variant = variantOf(request, facts);
      const scratchBytes = productScratch(variant, sizes);
      return {
        scratchBytes: () => scratchBytes,
        describe: () => ({ variant: describeVariant(variant) }),
        run({ x, weight, bias }) {
          const output = allocate([rows, outputDim], dtype);
          const preactivations = keepsPreactivations ? allocate([rows, outputDim], dtype) : undefined;
          const product: Product = {
            ...productOf(request, x.span, weight.span, output.span),
            epilogue: { bias: bias && wholeOf(bias.span), activation, preactivations: preactivations?.span },
          };
          // Of f16, too, every word is written whole: nothing has to be cleared.
          launchProduct(stream, product, variant);
          return { output, ...(preactivations && { preactivations }) };
        },
      };
    },
  };
}

function variantOf(request: LinearRequest, facts: DeviceFacts): MatmulVariant {
  const nowhere: Span = { buffer: {} as GPUBuffer, offset: 0, size: 0 };
  const product = productOf(request, nowhere, nowhere, nowhere);
  return chooseProduct(facts, product, fitsUnits(facts, product));
}

function productOf(
  { rows, inputDim, outputDim, dtype, transposeWeight }: LinearRequest,
  x: Span,
  weight: Span,
  out: Span,
): Product {
  const operand = (span: Span, stride: number): Operand => ({ ...wholeOf(span), batchStep: 0, stride });
  return {
    ...{ dtype: dtype === 'f16' ? 'f16' : 'f32', transposeA: false, transposeB: transposeWeight, batch: 1 },
    ...{ rows, inner: inputDim, columns: outputDim },
    a: operand(x, inputDim),
    b: operand(weight, transposeWeight ? inputDim : outputDim),
    // A kernel divides by the step between matrices, though there is one.
    out: { ...operand(out, outputDim), batchStep: rows * outputDim },
  };
}

function refusalsOf(request: LinearRequest, facts: DeviceFacts): readonly string[] {
  const { dtype, rows, inputDim, outputDim, transposeWeight } = request;
  const { bindingBytes } = facts;
  const refusals: string[] = [];
  if (dtype !== 'f32' && dtype !== 'f16') refusals.push(`${dtype}: made for f32 and f16`);
  if (dtype === 'f16' && outputDim % 4 !== 0) refusals.push('f16: outputs are written by fours');
  if (dtype === 'f16' && transposeWeight && variantOf(request, facts) === 'narrow') {
    refusals.push('f16: products of few rows with a transposed weight write single outputs');
  }
  if (inputDim === 0) refusals.push('no inputs: there is no product');
  // Products of one column run transposed, where a bias would go by rows.
  if (outputDim === 1) refusals.push('one output: its product runs as one of a single row');
  if (4 * Math.max(rows * inputDim, inputDim * outputDim, rows * outputDim) > bindingBytes) {
    refusals.push(`a tensor exceeds a binding of ${bindingBytes} bytes`);
  }
  return refusals;
}
