import { expect, test } from 'vitest';
import { topKLayers } from '../../src/layers-entry.js';
import { cpuTf, wasmTf } from '../support/engines.js';
import { numbers, one, savedArtifacts, withLayers } from '../support/layers-tf.js';

await cpuTf();
const tf = await withLayers(await wasmTf());
const { TopKFeedForward, TopKTransformerBlock } = topKLayers(tf);

test.each([
  ['cpu', 'wasm'],
  ['wasm', 'cpu'],
])('a model saved on %s answers the same on %s', async (from, to) => {
  const values = () => tf.tensor(numbers([2, 7, 8], 1), [2, 7, 8]);
  await tf.setBackend(from);
  const model = tf.sequential();
  model.add(
    new TopKTransformerBlock({ inputShape: [null, 8], numHeads: 2, k: 3, hiddenUnits: 12, feedForwardK: 4 }),
  );
  const expected = one(model.predict(values())).dataSync().slice();
  const artifacts = await savedArtifacts(tf, model);
  await tf.setBackend(to);
  const loaded = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
  const got = one(loaded.predict(values())).dataSync();
  expect(Math.max(...got.map((each, i) => Math.abs(each - (expected[i] ?? Number.NaN))))).toBeLessThan(1e-5);
});

test('a model goes along when tf changes its engine', async () => {
  await tf.setBackend('cpu');
  const model = tf.sequential();
  model.add(new TopKFeedForward({ inputShape: [null, 8], hiddenUnits: 12, k: 4 }));
  model.add(new TopKTransformerBlock({ numHeads: 2, k: 3, hiddenUnits: 12, feedForwardK: 4 }));
  const x = tf.tensor(numbers([2, 7, 8], 1), [2, 7, 8]);
  const expected = one(model.predict(x)).dataSync().slice();
  await tf.setBackend('wasm');
  const got = one(model.predict(x)).dataSync();
  expect(Math.max(...got.map((each, i) => Math.abs(each - (expected[i] ?? Number.NaN))))).toBeLessThan(1e-5);
});
