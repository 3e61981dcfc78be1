import * as ops from '@topk-attention/core';
import { type ConformanceCase, needsHalves } from '../../harness/case.js';
import { check, checkClose, checkSameBits, checkShape, checkThrows } from '../../harness/support/assert.js';
import type { Nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { decode, encode } from '../../harness/support/workbench.js';

function squaresCase(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `sums of squares: ${name}`, group: 'primitives', run };
}

const tensorOf = (backend: ops.Backend, one: Nd): ops.Tensor =>
  ops.tensor(backend, encode(one.data, 'f32'), one.shape);

const squareOf = ({ data }: Nd): number => Array.from(data).reduce((sum, one) => sum + one * one, 0);

function disposeAll(...xs: readonly ops.Tensor[]): void {
  for (const one of xs) one.dispose();
}

const lists: Readonly<Record<string, readonly ops.Shape[]>> = {
  'one number': [[]],
  'one tensor': [[70, 130]],
  'three tensors': [[5], [4097], [2, 3, 4]],
  'forty tensors, one of them empty': [...Array.from({ length: 39 }, (_, at) => [at + 1, 7]), [0, 3]],
  'forty tensors': Array.from({ length: 40 }, (_, at) => [37 * at + 1]),
};

export const sumSquaresCases: readonly ConformanceCase[] = [
  ...Object.entries(lists).map(([name, shapes]) =>
    squaresCase(name, async ({ backend, tolerance }) => {
      const random = new Random(`squares ${name}`);
      const values = shapes.map((shape) => random.uniform(shape));
      const xs = values.map((one) => tensorOf(backend, one));
      const { sums, norm } = ops.sumSquares(xs);
      checkShape('sums', sums.shape, [shapes.length]);
      checkShape('norm', norm.shape, []);
      const expected = values.map(squareOf);
      const total = expected.reduce((sum, one) => sum + one, 0);
      checkClose('sums', await sums.data(), expected, tolerance);
      checkClose('norm', await norm.data(), [Math.sqrt(total)], tolerance);
      const again = ops.sumSquares(xs);
      checkSameBits('sums of a second call', await sums.data(), await again.sums.data());
      checkSameBits('norm of a second call', await norm.data(), await again.norm.data());
      disposeAll(...xs, sums, norm, again.sums, again.norm);
    }),
  ),
  {
    ...squaresCase('halves, whose squares f16 could not hold', async ({ backend, tolerance }) => {
      const random = new Random('squares of halves');
      const values = [[5], [4097], [3, 7], [1], [260, 33]].map((shape) => {
        const { data } = random.uniform(shape);
        return {
          shape,
          data: decode(
            encode(
              data.map((one) => 3000 * one),
              'f16',
            ),
            'f16',
          ),
        };
      });
      const xs = values.map(({ shape, data }) => ops.tensor(backend, encode(data, 'f16'), shape, 'f16'));
      const { sums, norm } = ops.sumSquares(xs);
      check(sums.dtype === 'f32' && norm.dtype === 'f32', `sums of ${sums.dtype}, a norm of ${norm.dtype}`);
      const expected = values.map(squareOf);
      checkClose('sums', await sums.data(), expected, tolerance);
      const total = expected.reduce((sum, one) => sum + one, 0);
      checkClose('norm', await norm.data(), [Math.sqrt(total)], tolerance);
      const again = ops.sumSquares(xs);
      checkSameBits('sums of a second call', await sums.data(), await again.sums.data());
      disposeAll(...xs, sums, norm, again.sums, again.norm);
    }),
    notFor: needsHalves,
  },
  squaresCase('what is not a number shows in its own sum and in the norm', async ({ backend }) => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const xs = [new Float32Array(5000).fill(1), new Float32Array(5000).fill(2)].map((values, at) => {
        if (at === 1) values[4500] = bad;
        return ops.tensor(backend, values);
      });
      const { sums, norm } = ops.sumSquares(xs);
      const [fine, spoilt] = await sums.data();
      check(fine === 5000, `${bad} in another tensor changes a sum`);
      check(!Number.isFinite(spoilt), `${bad} does not show in its sum`);
      check(!Number.isFinite((await norm.data())[0]), `${bad} does not show in the norm`);
      disposeAll(...xs, sums, norm);
    }
  }),
  squaresCase('they have gradients', async ({ backend, tolerance }) => {
    const xs = { a: ops.tensor(backend, [3, 0]), b: ops.tensor(backend, [4]) };
    const made = ops.grad(({ a, b }: typeof xs) => ops.scope(() => ops.sumSquares([a, b]).norm.alias()))(xs);
    checkClose('a', await made.a.data(), [0.6, 0], tolerance);
    checkClose('b', await made.b.data(), [0.8], tolerance);
    disposeAll(xs.a, xs.b, made.a, made.b);
  }),
  squaresCase('nothing, and what is no float, is refused', async ({ backend }) => {
    checkThrows('no tensors', () => ops.sumSquares([]), 'INVALID_OPTION');
    const whole = ops.tensor(backend, Int32Array.of(1));
    checkThrows('i32', () => ops.sumSquares([whole]), 'DTYPE_MISMATCH');
    whole.dispose();
  }),
];
