import type { io, Tensor } from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { topKLayers } from '../src/index.js';
import { cpuTf, wasmTf } from './engines.js';
import { withLayers } from './layers-tf.js';

await cpuTf();
const tf = await withLayers(await wasmTf());
const { TopKTransformerBlock } = topKLayers(tf);

test.each([
  ['cpu', 'wasm'],
  ['wasm', 'cpu'],
])('a model saved on %s answers the same on %s', async (from, to) => {
  const numbers = Float32Array.from({ length: 2 * 7 * 8 }, (_, i) => Math.sin(1.7 * i));
  await tf.setBackend(from);
  const model = tf.sequential();
  model.add(
    new TopKTransformerBlock({ inputShape: [null, 8], numHeads: 2, k: 3, hiddenUnits: 12, feedForwardK: 4 }),
  );
  const expected = (model.predict(tf.tensor(numbers, [2, 7, 8])) as Tensor).dataSync().slice();
  let saved: io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (artifacts) => {
      saved = artifacts;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    }),
  );
  await tf.setBackend(to);
  const loaded = await tf.loadLayersModel(tf.io.fromMemory(saved as io.ModelArtifacts));
  const got = (loaded.predict(tf.tensor(numbers, [2, 7, 8])) as Tensor).dataSync();
  expect(Math.max(...got.map((one, i) => Math.abs(one - (expected[i] ?? Number.NaN))))).toBeLessThan(1e-5);
});
