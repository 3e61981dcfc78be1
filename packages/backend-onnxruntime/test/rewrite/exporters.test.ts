import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { describe, expect, test } from 'vitest';
import { decodeModel } from '../../src/onnx/read-model.js';
import { Evaluation } from '../../src/rewrite/extents/evaluate.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, largestGap, runModel } from '../support/run-model.js';

// So few bytes that the shorter input takes one chunk and the longer one several, the last of them not full.
const chunkBytes = 8000;
const inputs = [
  { batch: 2, length: 13 },
  { batch: 1, length: 101 },
];

const rewritable = testModels.filter(({ name }) => name !== 'block-weights-returned');

describe.each(rewritable)('$name', ({ name, family, blocks }) => {
  const original = readTestModel(name);

  test.each([
    { attention: 'exact' as const, result: 'exact' },
    // A picture never has so many patches.
    { attention: { k: 200 }, result: family === 'vit' ? 'exact' : 'top-k' },
  ])('attention $attention is the same function', async ({ attention, result }) => {
    const { model, report } = rewriteModel(original, { attention, chunkBytes, strict: true });
    expect(report.blocks.map((block) => block.result)).toEqual(Array(blocks).fill(result));
    for (const { batch, length } of inputs) {
      const feeds = feedsOf(family, batch, length);
      const expected = await runModel(original, feeds);
      const actual = await runModel(model, feeds);
      expect(actual.dims).toEqual(expected.dims);
      expect(largestGap(actual.data, expected.data)).toBeLessThan(1e-5);
    }
  });

  test('with few keys it is another function, and the same one each time', async () => {
    const { model } = rewriteModel(original, { attention: { k: 3 }, chunkBytes });
    const feeds = feedsOf(family, 2, 29);
    const first = await runModel(model, feeds);
    const second = await runModel(model, feeds);
    const dense = await runModel(original, feeds);
    expect(first.data).toEqual(second.data);
    expect(first.data.every(Number.isFinite)).toBe(true);
    expect(largestGap(first.data, dense.data)).toBeGreaterThan(1e-4);
  });

  test('inputs, outputs, operator set and weights stay', () => {
    const before = decodeModel(original);
    const after = decodeModel(rewriteModel(original).model);
    expect(after.opsetImport).toEqual(before.opsetImport);
    expect(after.graph?.input).toEqual(before.graph?.input);
    expect(after.graph?.output).toEqual(before.graph?.output);
    const dataOf = (model: typeof before): ReadonlyMap<string, Uint8Array> => {
      const matrices = model.graph?.initializer.filter(({ dims }) => dims.length === 2) ?? [];
      return new Map(matrices.map(({ name = '', rawData = new Uint8Array() }) => [name, rawData]));
    };
    const weights = dataOf(before);
    expect([...dataOf(after).keys()]).toEqual([...weights.keys()]);
    for (const [weight, data] of dataOf(after))
      expect(Buffer.compare(weights.get(weight)!, data), weight).toBe(0);
  });

  test('no value has two axes of the length', () => {
    // A picture has 64 patches and a token for the class; the constant mask of one block ends at 128.
    const length = family === 'vit' ? 65 : name === 'block-gpt4' ? 120 : 1024;
    expect(squares(original, length)).not.toEqual([]);
    for (const attention of ['exact', { k: 16 }] as const) {
      expect(squares(rewriteModel(original, { attention, chunkBytes }).model, length)).toEqual([]);
    }
  });
});

/** Values with two axes of the length, in every graph of the model. */
function squares(bytes: Uint8Array, length: number): readonly string[] {
  const model = decodeModel(bytes);
  const evaluation = new Evaluation(model, new Map(Object.entries({ batch: 1, length, past: 0 })));
  const graph = model.graph as NonNullable<typeof model.graph>;
  for (const { name = '' } of graph.output) {
    expect(evaluation.known(graph, name), evaluation.reason(graph, name)).toBeDefined();
  }
  return [...evaluation.values()].flatMap(({ name, known }) =>
    known.dims.filter((extent) => extent === length).length > 1 ? [`${name} [${known.dims}]`] : [],
  );
}

test('weights that are an output stay, and the report says so', () => {
  const original = readTestModel('block-weights-returned');
  const { model, report } = rewriteModel(original);
  expect(report.blocks).toMatchObject([{ result: 'refused', code: 'weights-used' }]);
  expect(report.blocks[0]?.reason).toMatch(/^the weights \S+ are an output$/);
  expect(Buffer.compare(model, original)).toBe(0);
  expect(() => rewriteModel(original, { strict: true })).toThrow(
    /not everything can be rewritten.*weights-used/,
  );
});
