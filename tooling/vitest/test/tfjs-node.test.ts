import { existsSync } from 'node:fs';
import { expect, test } from 'vitest';
import { buildFolder } from '../../tfjs-node/versions.mjs';
import { optional } from '../src/index.ts';
import { loadTfjsNode, tfjsNodeAvailability } from '../src/tfjs-node.ts';

interface Tensor {
  dataSync(): ArrayLike<number>;
}

interface TfjsNode {
  readonly version: Record<string, string>;
  getBackend(): string;
  matMul(a: readonly number[][], b: readonly number[][]): Tensor;
  topk(x: readonly number[], k: number): { readonly values: Tensor; readonly indices: Tensor };
}

test('says whether tfjs-node was built, and how to build it', () => {
  const availability = tfjsNodeAvailability();
  expect(availability.need).toBe('tfjs-node');
  expect(availability.available).toBe(existsSync(buildFolder));
  if (!availability.available)
    expect(availability.reason).toMatch(/node tooling\/tfjs-node\/build\.mjs|linux x64/);
});

// topk is one of the kernels that call `util.isNullOrUndefined`, which Node 23 and later do not have.
optional('tfjs-node computes on the TensorFlow that was built', tfjsNodeAvailability(), () => {
  const tf = loadTfjsNode<TfjsNode>();
  expect(tf.getBackend()).toBe('tensorflow');
  expect(tf.version['tfjs-node']).toBe('4.22.0');
  const product = tf.matMul(
    [
      [1, 2],
      [3, 4],
    ],
    [
      [1, 1],
      [0, 2],
    ],
  );
  expect(Array.from(product.dataSync())).toEqual([1, 5, 3, 11]);
  expect(Array.from(tf.topk([1, 5, 3, 5], 2).indices.dataSync())).toEqual([1, 3]);
});
