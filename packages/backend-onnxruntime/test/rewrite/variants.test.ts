import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { describe, expect, test } from 'vitest';
import { rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, largestGap, type Output, runOutputs, runsOf } from '../support/run-model.js';

// Files as their users shrink them: dynamic int8, half precision, weights of four bits.

const inputs = [
  { batch: 2, length: 13 },
  { batch: 1, length: 101 },
];
// A last bit may move a number to the next of 256 steps, or of half precision.
const tolerances: Readonly<Record<string, number>> = { int8: 1e-2, fp16: 4e-3, 'fp16-whole': 4e-3 };
const variants = testModels.filter(({ variant }) => variant !== undefined);
const rewritable = variants.filter(({ variant }) => variant !== 'int8-products');

describe.each(rewritable)('$name', ({ name, family, blocks, variant }) => {
  const original = readTestModel(name);

  test.each([
    { attention: 'exact' as const, result: 'exact' },
    // A picture never has so many patches.
    { attention: { k: 200 }, result: family === 'vit' ? 'exact' : 'top-k' },
  ])('attention $attention is the same function', async ({ attention, result }) => {
    const { model, report } = rewriteModel(original, { attention, chunkBytes: 8000, strict: true });
    expect(report.blocks.map((block) => block.result)).toEqual(Array(blocks).fill(result));
    for (const run of runsOf(family, inputs)) {
      const feeds = feedsOf(original, run);
      const actual = await runOutputs(model, feeds);
      const expected = await runOutputs(original, feeds);
      for (const [at, { data }] of actual.entries()) {
        const gap = largestGap(data, (expected[at] as Output).data);
        expect(gap, `output ${at}`).toBeLessThan(tolerances[variant as string] ?? 1e-5);
      }
    }
  });

  test('with few keys it is another function, and the same one each time', async () => {
    const { model } = rewriteModel(original, { attention: { k: 3 }, chunkBytes: 8000 });
    const feeds = feedsOf(original, { batch: 2, length: 29 });
    const [first] = (await runOutputs(model, feeds)) as [Output];
    expect((await runOutputs(model, feeds))[0]?.data).toEqual(first.data);
    const [dense] = (await runOutputs(original, feeds)) as [Output];
    expect(largestGap(first.data, dense.data)).toBeGreaterThan(1e-4);
  });
});

test('scores that are products of whole numbers stay, by name', () => {
  const original = readTestModel('bert-eager-traced-17-int8-products');
  const { model, report } = rewriteModel(original);
  expect(report.blocks).toMatchObject(Array(2).fill({ result: 'refused', code: 'quantized' }));
  expect(report.blocks[0]?.reason).toMatch(/^MatMulInteger \S+ multiplies queries and keys as whole numbers/);
  expect(Buffer.compare(model, original)).toBe(0);
});
