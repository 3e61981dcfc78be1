import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { describe, expect, test } from 'vitest';
import { subgraphsOf } from '../../src/onnx/attributes.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, runOutputs, runsOf } from '../support/run-model.js';

const models = testModels.filter(({ name }) => name !== 'block-weights-returned');

// With its own fusions, ONNX Runtime folds the scales of queries and keys into the product of the scores. Half-precision files do
// not load without them, and without them a product of whole numbers is summed in another order.
describe.each([
  { fusions: 'on', level: 'all', left: undefined },
  { fusions: 'off', level: 'disabled', left: /fp16|products/ },
] as const)('with the fusions of ONNX Runtime $fusions', ({ level, left }) => {
  const compared = models.filter(({ variant = '' }) => !left?.test(variant));

  test('exact attention in chunks gives the same bits as the file in 19 of 20 models', async () => {
    const others: string[] = [];
    for (const { name, family } of compared) {
      const original = readTestModel(name);
      const { model } = rewriteModel(original);
      // The constant mask of one block ends at 128; chunks have 256 queries at most.
      const length = name === 'block-gpt4' ? 120 : 300;
      for (const run of runsOf(family, [{ batch: 2, length }])) {
        const feeds = feedsOf(original, run);
        const expected = await runOutputs(original, feeds, { graphOptimizationLevel: level });
        const actual = await runOutputs(model, feeds, { graphOptimizationLevel: level });
        const isSame = actual.every(({ data }, at) => sameBits(data, expected[at]?.data as Float32Array));
        if (!isSame && !others.includes(name)) others.push(name);
      }
    }
    // Kernels of other processors may sum in another order when there are fewer rows.
    expect(others.length, `of ${compared.length}: ${others}`).toBeLessThan(compared.length / 20);
  });
});

function sameBits(a: Float32Array, b: Float32Array): boolean {
  const bytes = ({ buffer, byteOffset, byteLength }: Float32Array): Buffer =>
    Buffer.from(buffer, byteOffset, byteLength);
  return Buffer.compare(bytes(a), bytes(b)) === 0;
}

test('half-precision scores are products of scaled queries and keys, as in the file', () => {
  const original = readTestModel('llama-with-past-sdpa-traced-17-fp16');
  const { graph } = decodeModel(rewriteModel(original).model);
  const bodies = (graph?.node ?? []).filter(({ opType }) => opType === 'Loop').flatMap(subgraphsOf);
  expect(bodies).toHaveLength(2);
  for (const { node } of bodies) {
    const product = node.find(({ opType }) => opType === 'MatMul');
    const makers = product?.input.map((name) => node.find(({ output }) => output.includes(name))?.opType);
    expect(makers).toEqual(['Mul', 'Mul']);
  }
});
