import { matmul, reshape, scope, type Tensor, tensor } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { createTfjsBackend, fromTf, type TfTensor } from '../../../src/index.js';
import { topKLayers } from '../../../src/layers-entry.js';
import { wasmTf } from '../../support/engines.js';
import { largestDifference, one, withLayers } from '../../support/layers-tf.js';

const tf = await wasmTf();
const backend = await createTfjsBackend({ tf, engine: 'wasm' });

const twelve = (): TfTensor => tf.tensor([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [4, 3]);

/** Sums of the columns of x, of the data of which are matrices with `rows` rows. */
async function columnSums(x: Tensor, rows: number): Promise<number[]> {
  const sums = scope(() =>
    matmul(tensor(backend, new Float32Array(rows).fill(1), [1, rows]), reshape(x, [rows, 12 / rows])),
  );
  const values = [...(await sums.data())];
  sums.dispose();
  return values;
}

describe('the engine keeps what it packed of a second operand, by its data alone:', () => {
  test('a tf.matMul of the caller before changes no product of ours', async () => {
    const x = twelve();
    expect([...tf.matMul(tf.ones([1, 4]), x).dataSync()]).toEqual([22, 26, 30]);
    const borrowed = fromTf(backend, x);
    expect(await columnSums(borrowed, 3)).toEqual([15, 18, 21, 24]);
    expect(await columnSums(borrowed, 2)).toEqual([8, 10, 12, 14, 16, 18]);
    expect(await columnSums(borrowed, 4)).toEqual([22, 26, 30]);
  });

  test('a product of ours before changes no tf.matMul of the caller', async () => {
    const x = twelve();
    const borrowed = fromTf(backend, x);
    expect(await columnSums(borrowed, 3)).toEqual([15, 18, 21, 24]);
    expect([...tf.matMul(tf.ones([1, 4]), x).dataSync()]).toEqual([22, 26, 30]);
    expect(await columnSums(borrowed, 3)).toEqual([15, 18, 21, 24]);
  });

  test('more widths than it keeps zeros for', async () => {
    const x = tensor(
      backend,
      Float32Array.from({ length: 5040 }, (_, i) => i % 7),
    );
    const widths = Array.from({ length: 5040 }, (_, i) => i + 1).filter((width) => 5040 % width === 0);
    const others = Array.from({ length: 70 }, (_, i) => i + 1);
    for (let round = 0; round < 2; round++) {
      for (const width of widths) {
        const rows = 5040 / width;
        const made = scope(() =>
          matmul(tensor(backend, new Float32Array(rows).fill(1), [1, rows]), reshape(x, [rows, width])),
        );
        const expected = Array.from({ length: width }, (_, column) =>
          Array.from({ length: rows }, (_row, row) => (row * width + column) % 7).reduce((a, b) => a + b, 0),
        );
        expect([...(await made.data())]).toEqual(expected);
        made.dispose();
      }
      for (const width of others) {
        const made = scope(() =>
          matmul(tensor(backend, [2], [1, 1]), tensor(backend, new Float32Array(width).fill(3), [1, width])),
        );
        expect([...(await made.data())]).toEqual(new Array(width).fill(6));
        made.dispose();
      }
    }
  });

  test('more products than it keeps one vector of zeros for', async () => {
    const x = tensor(backend, [1, 2, 3, 4, 5, 6], [2, 3]);
    const row = tensor(backend, [1, 10], [1, 2]);
    for (let call = 0; call < 70_000; call++) matmul(row, x).dispose();
    const last = matmul(row, x);
    expect([...(await last.data())]).toEqual([41, 52, 63]);
  });

  test('a kernel of a layer that the caller multiplied in another shape', async () => {
    const whole = await withLayers(tf);
    const { TopKMultiHeadAttention } = topKLayers(whole);
    const layer = new TopKMultiHeadAttention({ numHeads: 2, keyDim: 3, k: 4, useBias: false });
    const x = tf.tensor(
      Float32Array.from({ length: 40 }, (_, i) => Math.sin(i + 1)),
      [1, 10, 4],
    );
    const weights = [
      [4, 2, 3],
      [4, 2, 3],
      [4, 2, 3],
      [2, 3, 4],
    ].map((shape, at) =>
      tf.tensor(
        Float32Array.from({ length: 24 }, (_, i) => Math.cos(i + at)),
        shape,
      ),
    );
    layer.build([null, 10, 4]);
    layer.setWeights(weights);
    const expected = tf.clone(one(layer.apply(x)));
    layer.setWeights(weights.map((weight) => tf.add(weight, 0)));
    for (const kernel of layer.getWeights())
      tf.matMul(tf.ones([1, 2]), tf.reshape(kernel, [2, 12])).dispose();
    expect(largestDifference(one(layer.apply(x)), expected)).toBe(0);
  });
});
