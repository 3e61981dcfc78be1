import { mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { contextOf, type ParameterTree } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { trainableKernel } from '../src/index.js';
import { softplus } from '../src/softplus.js';

describe.each([
  ['f32', createReferenceBackend(), 1e-6],
  ['f64', createReferenceBackend({ floatStorage: 'f64' }), 1e-14],
] as const)('in %s', (_, backend, tolerance) => {
  const far = (made: number | undefined, right: number): number => Math.abs((made as number) / right - 1);

  test('softplus and its gradient have all digits, however small', async () => {
    const points = Float64Array.from({ length: 161 }, (_, at) => (at - 80) / 2);
    const { value, gradients } = valueAndGrad((of: Tensor) => sum(softplus(of)))(tensor(backend, points));
    const made = await softplus(tensor(backend, points)).data();
    const slopes = await gradients.data();
    let total = 0;
    for (const [at, x] of points.entries()) {
      const right = Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
      total += right;
      expect(far(made[at], right), `at ${x}`).toBeLessThan(tolerance);
      expect(far(slopes[at], 1 / (1 + Math.exp(-x))), `slope at ${x}`).toBeLessThan(tolerance);
    }
    expect(far((await value.data())[0], total)).toBeLessThan(tolerance);
  });

  test('of infinities it is 0 and infinity', async () => {
    const ends = tensor(backend, Float64Array.of(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY));
    expect(Array.from(await softplus(ends).data())).toEqual([0, Number.POSITIVE_INFINITY]);
  });

  test.each([-14, -17, -30])(
    'small features of a trainable kernel weigh keys as they should: %d',
    async (x) => {
      const points = [x, x - 1].flatMap((one) => [one, one]);
      const of = (numbers: readonly number[]): Tensor =>
        tensor(backend, Float64Array.from(numbers), [1, 1, 2, 2]);
      const parameters = { '0.weight': tensor(backend, Float64Array.of(1, 0, 0, 1), [1, 2, 2]) };
      const mechanism = trainableKernel({ gate: 'none' });
      const attend = (query: Tensor): Tensor =>
        mechanism.attend({
          ...{ context: contextOf(parameters), path: 'self', options: {} },
          ...{ query, key: of(points), value: of([3, 4, 5, 6]) },
        });
      const [first, second] = [x, x - 1].map((one) => Math.log1p(Math.exp(one))) as [number, number];
      const share = second / (first + second);
      const made = await attend(of(points)).data();
      for (const [at, value] of [3, 4, 3, 4].entries()) {
        expect(far(made[at], value + 2 * share)).toBeLessThan(2 * tolerance);
      }
      // The keys weigh the same for every query.
      const { gradients } = valueAndGrad((given: ParameterTree) => {
        return sum(mul(attend((given as { query: Tensor }).query), 2));
      })({ query: of(points) });
      for (const slope of await (gradients.query as Tensor).data()) {
        expect(Math.abs(slope)).toBeLessThan(50 * tolerance);
      }
    },
  );
});
