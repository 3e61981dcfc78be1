import { bytesPerElement, isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import type { SumSquaresInputs, SumSquaresOutputs, SumSquaresRequest } from '../contract/sum-squares.js';
import { defineOperation } from '../operation/define.js';
import { runOperation } from '../operation/run.js';
import { add, cast, mul, sqrt } from '../ops/elementwise.js';
import { concat, reshape } from '../ops/layout.js';
import { sum } from '../ops/reduce.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

const sumSquaresOperation = defineOperation<
  SumSquaresRequest,
  SumSquaresInputs<Tensor>,
  SumSquaresOutputs<Tensor>
>({
  name: 'sumSquares',
  title: 'sums of squares',
  outputs: ({ sizes }) => ({
    sums: { shape: [sizes.length], dtype: 'f32' },
    norm: { shape: [], dtype: 'f32' },
  }),
  forward: {
    bytes: ({ sizes, dtype }) => ({
      inputs: sizes.reduce((total, size) => total + size, 0) * bytesPerElement(dtype),
      output: 4 * (sizes.length + 1),
      saved: 0,
    }),
    composed: ({ sizes }) => ({
      scratchBytes: () => 8 * sizes.reduce((most, size) => Math.max(most, size), 0),
      run: (inputs) =>
        scope(() => {
          const squares = sizes.map((_, at) => {
            return scope(() => {
              const x = cast(inputs[at] as Tensor, 'f32');
              return sum(mul(x, x));
            });
          });
          return {
            sums: concat(
              squares.map((one) => reshape(one, [1])),
              0,
            ),
            norm: sqrt(squares.reduce((total, one) => add(total, one))),
          };
        }),
    }),
  },
});

/**
 * The sum of the squares of each tensor, `sums` f32 [n], and the root of their total, `norm` f32 []: the norm of all gradients
 * of a step, in few launches on backends that support it. NaN and infinities show in both; squares of f16 do not overflow.
 *
 * @param xs at least one, float, of one dtype
 * @throws TopKError INVALID_OPTION for an empty list; DTYPE_MISMATCH
 *
 * @example
 * const { sums, norm } = sumSquares([tensor(backend, [3, 0]), tensor(backend, [4])]); // 9 and 16, and 5
 */
export function sumSquares(xs: readonly Tensor[]): { readonly sums: Tensor; readonly norm: Tensor } {
  const [first] = xs;
  if (first === undefined) {
    throw new TopKError('INVALID_OPTION', 'sumSquares: no tensors', {
      expected: 'at least one',
      got: 'none',
    });
  }
  for (const one of xs) {
    requireTensor('sumSquares', 'tensor', one);
    if (isFloat(one.dtype) && one.dtype === first.dtype) continue;
    throw new TopKError('DTYPE_MISMATCH', 'sumSquares: wrong dtype', {
      expected: 'floats of one dtype',
      got: `${first.dtype} and ${one.dtype}`,
    });
  }
  return runOperation(sumSquaresOperation, {
    where: 'sumSquares',
    request: { sizes: xs.map(({ size }) => size), dtype: first.dtype },
    inputs: Object.fromEntries(xs.entries()),
  });
}
