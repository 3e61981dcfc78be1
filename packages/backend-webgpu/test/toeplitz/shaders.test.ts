import type { ToeplitzProductRequest } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import { storageBytes, type View } from '../../src/runtime/view.js';
import { fusedToeplitzBackward } from '../../src/toeplitz/fused-toeplitz-backward.js';
import { fusedToeplitzProduct } from '../../src/toeplitz/fused-toeplitz-product.js';
import { recordedKernels } from '../support/recorded-kernels.js';
import { PLAIN } from '../support/recording.js';

/** The kernels of a product and of its gradients. */
function kernelsOf({ length, columns }: { length: number; columns: number }): Promise<readonly Kernel[]> {
  const [batch, heads] = [2, 2];
  const request: ToeplitzProductRequest = {
    ...{ batch, heads, length, columns, dtype: 'f32', saves: false },
  };
  return recordedKernels(PLAIN, (stream) => {
    const view = (shape: View['shape'], type: View['dtype'] = 'f32'): View => ({
      ...{ shape, dtype: type },
      span: stream.scratch(storageBytes(shape, type)),
    });
    const inputs = {
      factors: view([heads, 2 * length - 1]),
      x: view([batch, heads, length, columns]),
    };
    const limits = limitsOf(stream.facts);
    const forward = fusedToeplitzProduct(stream, stream.facts, view).prepare(request, limits);
    if ('refusals' in forward) throw new Error(forward.refusals.join('; '));
    const { output } = forward.run(inputs, 1);
    const backward = fusedToeplitzBackward(stream, stream.facts, view).prepare(request, limits);
    if ('refusals' in backward) throw new Error(backward.refusals.join('; '));
    backward.run({ ...inputs, dOutput: output }, 1);
  });
}

test.each([
  ['in-one-pass', 100, /"does":"product"/],
  ['gradients-of-rows', 3000, /gradients/],
])('shader text of Toeplitz products: %s', async (name, length, wanted) => {
  const own = (await kernelsOf({ length, columns: 5 })).filter(({ key }) => wanted.test(key));
  expect(own).toHaveLength(1);
  const text = own.map(({ key, source }) => `// ${key}\n${source().trim()}\n`).join('\n');
  await expect(text).toMatchFileSnapshot(`./__snapshots__/${name}.wgsl`);
});

test('different keys name different shaders, and no key a length but by its logarithm', async () => {
  const texts = new Map<string, string>();
  for (const length of [1, 100, 1024, 3000, 3001, 20_000]) {
    for (const { key, source } of await kernelsOf({ length, columns: 4 })) {
      expect(texts.get(key) ?? source(), key).toBe(source());
      texts.set(key, source());
      expect(key.replace(/"log":\d+/, '')).not.toMatch(/\d/);
    }
  }
  expect(new Set(texts.values()).size).toBe(texts.size);
});
