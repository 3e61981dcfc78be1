// Files that ONNX Runtime has optimised and saved: products with a scale, several Gather of a shape as one Split, whole-number
// products with their scales.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { InferenceSession } from 'onnxruntime-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decodeModel } from '../../src/onnx/read-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, largestGap, type Output, runOutputs } from '../support/run-model.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'topk-saved-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function savedByEngine(name: string): Promise<Uint8Array> {
  const optimizedModelFilePath = join(folder, `${name}.onnx`);
  // Level "all" would be for this processor alone.
  const session = await InferenceSession.create(readTestModel(name), {
    graphOptimizationLevel: 'extended',
    ...{ optimizedModelFilePath, logSeverityLevel: 3 },
  });
  await session.release();
  return readFile(optimizedModelFilePath);
}

test.each([
  ['bert-eager-traced-17', 'FusedMatMul'],
  ['llama-sdpa-traced-17', 'Split'],
  ['bert-sdpa-traced-17-int8', 'DynamicQuantizeMatMul'],
  ['modernbert-sdpa-export-18', 'FusedMatMul'],
])('%s, with %s', async (name, operator) => {
  const original = await savedByEngine(name);
  expect(decodeModel(original).graph?.node.map(({ opType }) => opType)).toContain(operator);
  const { model, report } = rewriteModel(original, { chunkBytes: 8000, strict: true });
  const { blocks } = testModels.find((one) => one.name === name) as (typeof testModels)[number];
  expect(report.blocks.map(({ result }) => result)).toEqual(Array(blocks).fill('exact'));
  for (const extents of [
    { batch: 2, length: 13 },
    { batch: 1, length: 101 },
  ]) {
    const feeds = feedsOf(original, extents);
    const expected = await runOutputs(original, feeds);
    for (const [at, { data }] of (await runOutputs(model, feeds)).entries())
      expect(largestGap(data, (expected[at] as Output).data), `output ${at}`).toBeLessThan(1e-5);
  }
});
