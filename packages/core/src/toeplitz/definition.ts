import type {
  ToeplitzProductGradients,
  ToeplitzProductInputs,
  ToeplitzProductOutputs,
  ToeplitzProductRequest,
} from '../contract/toeplitz-product.js';
import type { DifferentiableOperation } from '../operation/define.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  backwardBytes,
  composedBackwardScratch,
  composedLargest,
  composedScratch,
  forwardBytes,
} from './bytes.js';
import { circleSize } from './circle-size.js';
import { composedGradients, composedProduct } from './composed.js';

/** Toeplitz matrices of heads, times columns. */
export const toeplitzProductOperation: DifferentiableOperation<
  ToeplitzProductRequest,
  ToeplitzProductInputs<Tensor>,
  ToeplitzProductOutputs<Tensor>,
  ToeplitzProductGradients<Tensor>
> = {
  name: 'toeplitzProduct',
  title: 'Toeplitz product',
  isEmpty: ({ batch, heads, columns }) => batch * heads * columns === 0,
  outputs: ({ batch, heads, length, columns, dtype }) => ({
    output: { shape: [batch, heads, length, columns], dtype },
  }),
  forward: {
    bytes: forwardBytes,
    composed: (request) => ({
      describe: () => ({ transforms: `of ${circleSize(request.length)}, composed` }),
      scratchBytes: () => composedScratch(request),
      largestBytes: () => composedLargest(request),
      run: ({ factors, x }) => ({ output: composedProduct(request, factors, x) }),
    }),
  },
  backward: {
    roles: ['factors', 'x'],
    bytes: backwardBytes,
    composed: (request) => ({
      describe: () => ({ transforms: `of ${circleSize(request.length)}, composed` }),
      scratchBytes: () => composedBackwardScratch(request),
      largestBytes: () => composedLargest(request),
      run: ({ factors, x, dOutput }) => composedGradients(request, factors, x, dOutput),
    }),
  },
};
