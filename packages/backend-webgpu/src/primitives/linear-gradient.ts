import type { DType, Shape } from '@topk-attention/core';
import type {
  FusedOperation,
  LinearGradientInputs,
  LinearGradientRequest,
  LinearGradients,
} from '@topk-attention/core/backend';
import { wholeOf } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { chooseProduct, describeVariant } from './matmul-choose.js';
import { divide, type ProductSizes } from './matmul-cost.js';
import type { Operand } from './matmul-product.js';
import type { MatmulTile } from './matmul-tile.js';
import { launchTiled } from './matmul-tiled.js';

type Allocate = (shape: Shape, dtype: DType) => WebGpuTensor;

/**
 * The gradients of a linear layer's weight and bias: one product in tiles, which sums the columns of dOutput beside. Sums
 * are in a fixed order.
 *
 * @param forced a tile instead of the one that suits the device and the shape
 */
export function linearGradients(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate,
  forced?: MatmulTile,
): FusedOperation<LinearGradientRequest, LinearGradientInputs<WebGpuTensor>, LinearGradients<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const { outputDim, transposeWeight } = request;
      const sizes = sizesOf(request);
      const tile = forced ?? chooseProduct(facts, sizes);
      if (tile === 'plain' || tile === 'narrow' || 'units' in tile) {
        return { refusals: [`${describeVariant(tile)}: only products in tiles sum an operand`] };
      }
      const { rows, inner, columns } = sizes;
      const { parts } = divide(tile, sizes);
      const scratchBytes = parts < 2 ? 0 : 4 * parts * (rows * columns + outputDim);
      return {
        scratchBytes: () => scratchBytes,
        describe: () => ({ variant: `${describeVariant(tile)}, sums of dOutput beside them` }),
        run({ x, dOutput }) {
          const weight = allocate([rows, columns], 'f32');
          const bias = allocate([outputDim], 'f32');
          const [a, b] = transposeWeight ? [dOutput, x] : [x, dOutput];
          launchTiled(
            stream,
            {
              ...{ dtype: 'f32', transposeA: true, transposeB: false, batch: 1, rows, inner, columns },
              ...{ a: operand(a.span, rows), b: operand(b.span, columns) },
              out: { ...operand(weight.span, columns), batchStep: rows * columns },
              sums: { of: transposeWeight ? 'a' : 'b', out: wholeOf(bias.span) },
            },
            tile,
          );
          return { weight, bias };
        },
      };
    },
  };
}

/** The gradient of the weight as a product: its sums go over the rows of x and dOutput. */
function sizesOf({ rows, inputDim, outputDim, transposeWeight }: LinearGradientRequest): ProductSizes {
  const [down, across] = transposeWeight ? [outputDim, inputDim] : [inputDim, outputDim];
  return { batch: 1, rows: down, inner: rows, columns: across };
}

const operand = (span: Span, stride: number): Operand => ({ ...wholeOf(span), batchStep: 0, stride });

function refusalsOf(request: LinearGradientRequest, { bindingBytes }: DeviceFacts): readonly string[] {
  const { dtype, rows, inputDim, outputDim } = request;
  const refusals: string[] = [];
  if (dtype !== 'f32') refusals.push(`${dtype}: made for f32`);
  if (inputDim === 0) refusals.push('no inputs: there is no product');
  if (sizesOf(request).columns === 1) refusals.push('one column: its product runs as one of a single row');
  if (4 * Math.max(rows * inputDim, inputDim * outputDim, rows * outputDim) > bindingBytes) {
    refusals.push(`a tensor exceeds a binding of ${bindingBytes} bytes`);
  }
  return refusals;
}
