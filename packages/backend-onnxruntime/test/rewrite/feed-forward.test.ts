import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { describe, expect, test } from 'vitest';
import type { GraphProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { Lengths } from '../../src/rewrite/extents/lengths.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { extentsOf, feedsOf, largestGap, runModel } from '../support/run-model.js';

const options = { feedForward: 'chunked', chunkBytes: 2000 } as const;
// Merged decoders have the layers of other decoders in their branches.
const others = /^block$|-merged$/;
const whole = testModels.filter(({ family, variant }) => !variant && !others.test(family));

describe.each(whole)('$name', ({ name, family, layers }) => {
  const original = readTestModel(name);

  test('layers in chunks are the same function', async () => {
    const { model, report } = rewriteModel(original, options);
    expect(report.feedForwards).toHaveLength(layers);
    const feeds = feedsOf(original, { batch: 2, length: 61 });
    const expected = await runModel(original, feeds);
    const actual = await runModel(model, feeds);
    expect(actual.dims).toEqual(expected.dims);
    expect(largestGap(actual.data, expected.data)).toBeLessThan(1e-5);
  });

  test('no value is as wide as the middle of a layer and as long as the input', () => {
    const at = extentsOf(original, { batch: 1, length: 1024, source: 1024, past: 0 });
    const tokens = { vit: 65, 'whisper-encoder': 24 }[family] ?? 1024;
    const { model, report } = rewriteModel(original, options);
    const hidden = report.feedForwards[0]?.hidden as number;
    const wide = (bytes: Uint8Array): readonly string[] => {
      const decoded = decodeModel(bytes);
      const { reported } = new Lengths(decoded, new Map(), at);
      const graph = decoded.graph as GraphProto;
      expect(reported.known(graph, graph.output[0]?.name as string)).toBeDefined();
      return [...reported.values()].flatMap(({ name: value, known }) =>
        // A product may give both halves of a gated layer.
        [hidden, 2 * hidden].includes(known.dims.at(-1) as number) && known.dims.includes(tokens)
          ? [value]
          : [],
      );
    };
    expect(wide(original)).not.toEqual([]);
    expect(wide(model)).toEqual([]);
  });
});
