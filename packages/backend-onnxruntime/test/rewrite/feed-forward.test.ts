import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { describe, expect, test } from 'vitest';
import type { GraphProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { Evaluation } from '../../src/rewrite/extents/evaluate.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, largestGap, runModel } from '../support/run-model.js';

const options = { feedForward: 'chunked', chunkBytes: 8000 } as const;
const whole = testModels.filter(({ family }) => family !== 'block');

describe.each(whole)('$name', ({ name, family, blocks }) => {
  const original = readTestModel(name);

  test('layers in chunks are the same function', async () => {
    const { model, report } = rewriteModel(original, options);
    expect(report.feedForwards).toHaveLength(blocks);
    const feeds = feedsOf(family, 2, 61);
    const expected = await runModel(original, feeds);
    const actual = await runModel(model, feeds);
    expect(actual.dims).toEqual(expected.dims);
    expect(largestGap(actual.data, expected.data)).toBeLessThan(1e-5);
  });

  test('no value is as wide as the middle of a layer and as long as the input', () => {
    const at = new Map(Object.entries({ batch: 1, length: 1024, past: 0 }));
    const tokens = family === 'vit' ? 65 : 1024;
    const { model, report } = rewriteModel(original, options);
    const hidden = report.feedForwards[0]?.hidden as number;
    const wide = (bytes: Uint8Array): readonly string[] => {
      const decoded = decodeModel(bytes);
      const evaluation = new Evaluation(decoded, at);
      const graph = decoded.graph as GraphProto;
      expect(evaluation.known(graph, graph.output[0]?.name as string)).toBeDefined();
      return [...evaluation.values()].flatMap(({ name: value, known }) =>
        known.dims.at(-1) === hidden && known.dims.includes(tokens) ? [value] : [],
      );
    };
    expect(wide(original)).not.toEqual([]);
    expect(wide(model)).toEqual([]);
  });
});
