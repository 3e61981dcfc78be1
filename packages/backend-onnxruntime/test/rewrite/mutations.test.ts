import { TopKError } from '@topk-attention/core';
import { readTestModel } from '@topk-attention/onnx-models';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { rewriteModel } from '../../src/rewrite/index.js';

const runs = Number(process.env.TOPK_FUZZ_RUNS ?? 100);
const originals = ['block-bert4-opset-9', 'block-distilbert4', 'block-bart4'].map(readTestModel);

test('changed files are rewritten or refused, and nothing else is thrown', () => {
  const change = fc.record({
    original: fc.constantFrom(...originals),
    edits: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 6 }),
    // Most bytes are weights; the graph comes first.
    isInGraph: fc.boolean(),
    cut: fc.option(fc.nat(), { freq: 6 }),
  });
  fc.assert(
    fc.property(change, ({ original, edits, isInGraph, cut }) => {
      const bytes = new Uint8Array(original);
      for (const [place, value] of edits) bytes[place % (isInGraph ? 4000 : bytes.length)] = value;
      const end = cut === null ? bytes.length : cut % bytes.length;
      try {
        const { report } = rewriteModel(bytes.subarray(0, end), { attention: { k: 2 } });
        expect(report.blocks.length).toBeLessThanOrEqual(1);
      } catch (error) {
        if (!(error instanceof TopKError)) throw error;
      }
    }),
    { numRuns: runs, seed: 13 },
  );
});
