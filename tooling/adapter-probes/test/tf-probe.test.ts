import * as tf from '@tensorflow/tfjs-core';
import { describeConformance } from '@topk-attention/conformance';
import { matmul, type Tensor, tensor } from '@topk-attention/core';
import { expect, test } from 'vitest';
import { createTfProbe } from '../src/tf-probe.ts';
import { probeCases, required } from './probe-cases.ts';

const cases = await probeCases();

await describeConformance({ name: 'tf-probe', createBackend: createTfProbe, cases });

test.each(Object.entries(required))('the suite still has its cases of %s', (primitive, least) => {
  expect(cases.filter(({ name }) => name.startsWith(primitive)).length).toBeGreaterThanOrEqual(least);
});

test('results outlive a tf.tidy of the caller, and nothing is left in tf after dispose', async () => {
  const before = tf.memory().numTensors;
  const backend = await createTfProbe();
  const made: Tensor[] = [];
  tf.tidy(() => {
    const x = tensor(backend, [1, 2, 3, 4], [2, 2]);
    made.push(x, matmul(x, x));
  });
  expect(Array.from((await made[1]?.data()) ?? [])).toEqual([7, 10, 15, 22]);
  made[0]?.dispose();
  await backend.dispose();
  expect(tf.memory().numTensors).toBe(before);
});
