import type { Tensor } from '@topk-attention/core';
import * as ops from '@topk-attention/core';
import type { ConformanceCase } from '../../../harness/case.js';
import type { Nd } from '../../../harness/support/nd.js';
import { Random } from '../../../harness/support/random.js';
import { gradientsOf, reuse, type Step } from './in-a-row.js';

const random = new Random('reuse of products');
const whole = (...shape: number[]): Nd => random.integers(shape, -3, 3);

/**
 * Products whose second operand is the same `size` numbers: as a matrix and as a batch of two, of each of these
 * heights.
 */
function products(size: number, inners: readonly number[], rows: number): Readonly<Record<string, Step>> {
  const steps: Record<string, Step> = {};
  const product =
    (lead: readonly number[], inner: number, columns: number, transposeB: boolean): Step =>
    ({ x, left }) => {
      const count = (lead[0] ?? 1) * rows * inner;
      const a = ops.reshape(ops.slice(left as Tensor, [0], [count]), [...lead, rows, inner]);
      const ends = transposeB ? [columns, inner] : [inner, columns];
      return ops.matmul(a, ops.reshape(x as Tensor, [...lead, ...ends]), { transposeB });
    };
  for (const inner of inners) {
    for (const transposeB of [false, true]) {
      for (const lead of [[], [1], [2]]) {
        const columns = size / inner / (lead[0] ?? 1);
        if (!Number.isInteger(columns)) continue;
        const what = `[${[...lead, inner, columns]}]${transposeB ? ', transposed' : ''}`;
        steps[what] = product(lead, inner, columns, transposeB);
      }
    }
  }
  return steps;
}

export const reuseOfProducts: readonly ConformanceCase[] = [
  reuse(
    'a second operand that was one in another shape (tfjs-wasm keeps what it packed by the data alone)',
    { x: whole(24), left: whole(96) },
    products(24, [1, 2, 3, 4, 6, 8, 12, 24], 2),
  ),
  reuse(
    'a large second operand that was one in another shape, which takes the quick ways of engines',
    { x: whole(6144), left: whole(16_384) },
    products(6144, [48, 64, 96, 128], 64),
  ),
  reuse(
    'a square second operand, as it is and transposed',
    { a: whole(33, 48), b: whole(48, 48) },
    {
      'as it is': ({ a, b }) => ops.matmul(a as Tensor, b as Tensor),
      transposed: ({ a, b }) => ops.matmul(a as Tensor, b as Tensor, { transposeB: true }),
      'transposed by an op': ({ a, b }) => ops.matmul(a as Tensor, ops.transpose(b as Tensor)),
      'as the first operand': ({ b }) => ops.matmul(b as Tensor, b as Tensor, { transposeA: true }),
    },
  ),
  reuse(
    'a second operand in other shapes after gradients',
    { x: whole(48), a: whole(2, 12) },
    {
      product: ({ x, a }) => ops.matmul(a as Tensor, ops.reshape(x as Tensor, [12, 4])),
      'its gradients': gradientsOf(({ x, a }) => ops.matmul(a as Tensor, ops.reshape(x as Tensor, [12, 4]))),
      'gradients of another shape': gradientsOf(({ x, a }) =>
        ops.matmul(ops.reshape(a as Tensor, [3, 8]), ops.reshape(x as Tensor, [8, 6])),
      ),
      'another product': ({ x, a }) =>
        ops.matmul(ops.reshape(a as Tensor, [6, 4]), ops.reshape(x as Tensor, [4, 12])),
    },
  ),
];
