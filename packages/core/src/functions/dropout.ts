import { custom } from '../autograd/custom.js';
import {
  checkDropping,
  type DropoutInputs,
  type DropoutOutputs,
  type DropoutRequest,
  type Dropping,
  dropoutNumbers,
} from '../contract/dropout.js';
import { bytesPerElement, isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { sizeOf } from '../contract/shape.js';
import { defineOperation } from '../operation/define.js';
import { runOperation } from '../operation/run.js';
import { randomBits } from '../ops/create.js';
import { le, mul, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { noteSeed } from '../recording/used-seeds.js';
import { describeValue } from '../tensor/describe-value.js';
import { aNumber, anArray, type OptionKinds, readOptions, required } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** What dropout needs to know: the rate and the seed are required. */
export interface DropoutOptions extends Dropping {
  /**
   * For a part [a, b, c, d] of a larger tensor: where its first element is in there. What is dropped then depends on an
   * element's coordinates in the larger tensor, the same in parts of any size. Default: it depends on the place in
   * row-major order.
   */
  readonly offset?: readonly [number, number, number, number];
}

const kinds: OptionKinds<DropoutOptions> = {
  rate: required(aNumber),
  seed: required(aNumber),
  offset: anArray(),
};

const bytesOf = ({ shape, dtype }: DropoutRequest): number => sizeOf(shape) * bytesPerElement(dtype);

/** One pass on backends that fuse it; its gradient is the operation itself, so no mask is kept. */
const dropoutOperation = defineOperation<DropoutRequest, DropoutInputs<Tensor>, DropoutOutputs<Tensor>>({
  name: 'dropout',
  title: 'dropout',
  outputs: ({ shape, dtype }) => ({ output: { shape, dtype } }),
  isEmpty: ({ shape }) => sizeOf(shape) === 0,
  forward: {
    bytes: (request) => ({ inputs: bytesOf(request), output: bytesOf(request), saved: 0 }),
    composed: (request, { boolBytes = 1 }) => ({
      // Random words, then scaled elements, beside what is kept.
      scratchBytes: () => (4 + boolBytes) * sizeOf(request.shape),
      run: ({ x }) =>
        scope(() => {
          const { threshold, keptScale } = dropoutNumbers(request);
          const { seed, shape, offset } = request;
          const drawn = offset === undefined ? [1, 1, 1, sizeOf(shape)] : shape;
          const isKept = scope(() => le(threshold, randomBits(x.backend, seed, drawn, offset)));
          return { output: where(reshape(isKept, shape), mul(x, keptScale), 0) };
        }),
    }),
  },
});

/**
 * x [...] with each element dropped with probability `rate` and the rest scaled by 1 / (1 - rate), in x's dtype, f32 or
 * f16. What is dropped depends on the seed and on an element's place alone: the same on every backend, and again in the
 * backward pass. A dropped NaN is 0.
 *
 * @throws TopKError INVALID_OPTION, DTYPE_MISMATCH
 *
 * @example
 * const y = dropout(x, { rate: 0.1, seed: 7 });
 */
export function dropout(x: Tensor, options: DropoutOptions): Tensor {
  const { rate, seed, offset } = readOptions('dropout', options, kinds);
  requireTensor('dropout', 'x', x);
  checkDropping('dropout', { rate, seed });
  if (!isFloat(x.dtype)) {
    throw new TopKError('DTYPE_MISMATCH', 'dropout: x has the wrong dtype', {
      expected: 'f32 or f16',
      got: x.dtype,
    });
  }
  if (offset !== undefined) checkOffset(x, offset);
  if (rate === 0) return x.alias();
  noteSeed(seed);
  return dropped({ shape: x.shape, dtype: x.dtype, rate, seed, ...(offset && { offset }) }, x);
}

function checkOffset({ rank }: Tensor, offset: readonly number[]): void {
  if (rank === 4 && offset.length === 4 && offset.every((one) => Number.isSafeInteger(one) && one >= 0))
    return;
  throw new TopKError('INVALID_OPTION', 'dropout: bad offset', {
    expected: '4 whole numbers from 0, and x of rank 4',
    got: `${describeValue(offset)}, and rank ${rank}`,
  });
}

function dropped(request: DropoutRequest, x: Tensor): Tensor {
  const [output] = custom(
    'dropout',
    [x],
    () => ({
      outputs: [runOperation(dropoutOperation, { where: 'dropout', request, inputs: { x } }).output],
      saved: [],
    }),
    (_ops, [dOutput]) => (dOutput === undefined ? [] : [dropped(request, dOutput)]),
  );
  return output as Tensor;
}
