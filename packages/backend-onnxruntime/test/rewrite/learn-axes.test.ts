import { TopKError } from '@topk-attention/core';
import { readTestModel } from '@topk-attention/onnx-models';
import * as ort from 'onnxruntime-node';
import { expect, test } from 'vitest';
import { attributeOf } from '../../src/onnx/attributes.js';
import { dataTypes } from '../../src/onnx/data-types.js';
import type { GraphProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { learnAxes, rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, largestGap, runModel } from '../support/run-model.js';

/** A block whose input goes through an operator whose output depends on values; here it is the input again. */
function opaqueModel(): Uint8Array {
  const model = decodeModel(readTestModel('block-bert4'));
  const graph = model.graph as GraphProto;
  const node = graph.node.map((one) => ({
    ...one,
    input: one.input.map((name) => (name === 'x' ? 'opaque' : name)),
  }));
  const opaque = {
    opType: 'Compress',
    input: ['x', 'kept'],
    output: ['opaque'],
    attribute: [attributeOf('axis', 2)],
  };
  const kept = { name: 'kept', dataType: dataTypes.bool, dims: [32], rawData: new Uint8Array(32).fill(1) };
  return encodeModel({
    ...model,
    graph: { ...graph, node: [opaque, ...node], initializer: [...graph.initializer, kept] },
  });
}

const original = opaqueModel();

test('extents that are not understood are learned by running', async () => {
  expect(rewriteModel(original).report.blocks).toMatchObject([
    { result: 'refused', code: 'unknown-extents' },
  ]);
  const learned = await learnAxes(original, ort);
  for (const attention of ['exact', { k: 100 }] as const) {
    const { model, report } = rewriteModel(original, { attention, learned, chunkBytes: 8000, strict: true });
    expect(report.blocks).toMatchObject([{ result: attention === 'exact' ? 'exact' : 'top-k' }]);
    const feeds = feedsOf(original, { batch: 2, length: 45 });
    const expected = await runModel(original, feeds);
    expect(largestGap((await runModel(model, feeds)).data, expected.data)).toBeLessThan(1e-5);
  }
});

test('where inference knows everything, nothing changes', async () => {
  const plain = readTestModel('bert-sdpa-export-18');
  const learned = await learnAxes(plain, ort);
  expect(Buffer.compare(rewriteModel(plain, { learned }).model, rewriteModel(plain).model)).toBe(0);
});

test('what was learned of another model or other extents is refused', async () => {
  const learned = await learnAxes(original, ort);
  expect(() => rewriteModel(readTestModel('vit-eager-traced-17'), { learned })).toThrow(/another model/);
  expect(() => rewriteModel(original, { learned, fixed: { length: 40 } })).toThrow(/other fixed extents/);
});

test('a model that does not run is an ENGINE_FAILURE', async () => {
  const model = decodeModel(original);
  const graph = model.graph as GraphProto;
  const node = graph.node.map((one) => (one.opType === 'Compress' ? { ...one, opType: 'Nothing' } : one));
  const error: unknown = await learnAxes(encodeModel({ ...model, graph: { ...graph, node } }), ort).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(TopKError);
  expect((error as TopKError).code).toBe('ENGINE_FAILURE');
});
