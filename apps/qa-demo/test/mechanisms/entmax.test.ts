import {
  type Backend,
  dropout,
  grad,
  mul,
  pullback,
  type Shape,
  scope,
  sum,
  type Tensor,
  tensor,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { entmax15 } from '@topk-attention/mechanisms';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { afterAll, beforeAll, expect } from 'vitest';
import { wave } from './wave.js';

const software = softwareGpuAvailability();
let backend: WebGpuBackend;

beforeAll(async () => {
  if (software.available) backend = await createWebGpuBackend({ onWarning: () => {} });
});
afterAll(() => backend?.dispose());

/** Weights and gradients of scores. */
async function both(on: Backend, shape: Shape, mask: Shape | undefined, spread: number): Promise<number[][]> {
  const size = shape.reduce((all, extent) => all * extent, 1);
  const scores = tensor(
    on,
    wave(size, 0.7).map((one) => spread * one),
    shape,
  );
  const given = tensor(on, wave(size, 1.3), shape);
  const seen = mask?.reduce((all, extent) => all * extent, 1) ?? 0;
  const visible =
    mask &&
    tensor(
      on,
      wave(seen, 2.1).map((one) => one > -0.5),
      mask,
    );
  const weights = entmax15(scores, visible);
  const { z } = grad(({ z }: { z: Tensor }) => sum(mul(entmax15(z, visible), given)))({ z: scores });
  return Promise.all([weights, z].map(async (one) => Array.from(await one.data())));
}

for (const [shape, mask, spread] of [
  [[3, 2, 5, 17], undefined, 1],
  [[3, 2, 5, 64], [3, 1, 1, 64], 4],
  [[2, 2, 9, 300], [9, 300], 0.3],
  [[1, 1, 3, 9000], undefined, 10],
  // More axes than the kernel steps through: composed there too.
  [[2, 2, 2, 2, 2, 6], [2, 1, 2, 1, 2, 6], 1],
] as const) {
  optional(`entmax in one launch is entmax composed of ops: ${shape}, ${mask}`, software, async () => {
    const [made, wanted] = [
      await both(backend, shape, mask, spread),
      await both(createReferenceBackend(), shape, mask, spread),
    ];
    for (const [what, numbers] of wanted.entries()) {
      const difference = numbers.map((one, at) => Math.abs(one - (made[what]?.[at] as number)));
      expect(Math.max(...difference), ['weights', 'gradients'][what]).toBeLessThan(1e-5);
      expect(numbers.some((one) => one !== 0)).toBe(true);
    }
  });
}

optional(
  'a launch for the weights, one for their dropout, and one each for their gradients',
  software,
  async () => {
    const [shape, mask] = [
      [2, 2, 9, 300],
      [2, 1, 1, 300],
    ] as const;
    const z = tensor(backend, wave(2 * 2 * 9 * 300, 0.7), shape);
    const visible = tensor(
      backend,
      wave(600, 2.1).map((one) => one > -0.5),
      mask,
    );
    const pulled = (): void =>
      scope(() => {
        const { output, backward, dispose } = pullback((of: Tensor) => {
          const weights = entmax15(of, visible);
          return dropout(weights, { rate: 0.1, seed: 3, offset: [0, 0, 4, 0] });
        }, z);
        backward(output);
        dispose();
      });
    const before = backend.statistics().launches;
    pulled();
    await z.data();
    expect(backend.statistics().launches - before).toBe(4);
  },
);
