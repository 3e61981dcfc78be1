import { readTestModel } from '@topk-attention/onnx-models';
import { describe, expect, test } from 'vitest';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { type RewriteOptions, rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, largestGap, runModel } from '../support/run-model.js';

// What is written must be made of operators that the file's own set has: 9 to 12 lack more and more of today's.

const sets = [
  ['block-bert4-opset-9', 9],
  ['block-bert4-opset-9', 10],
  ['block-bert4-opset-9', 11],
  ['block-bert4-opset-9', 12],
  ['block-bert4-opset-11', 11],
  ['block-bert4-opset-11', 12],
] as const;

describe.each(sets)('%s as operator set %i', (name, version) => {
  const original = encodeModel({
    ...decodeModel(readTestModel(name)),
    opsetImport: [{ domain: '', version }],
  });

  // With k of 1, 300 keys are selected in blocks, and 61 after a bound.
  test.each<readonly [RewriteOptions, number]>([
    [{}, 300],
    [{ attention: { k: 300 } }, 300],
    [{ attention: { k: 1 } }, 300],
    [{ attention: { k: 1 } }, 61],
    [{ attention: { k: 4 }, maxLength: 61 }, 61],
    [{ attention: { k: 4 }, target: 'webgpu' }, 61],
    [{ attention: { k: 1 }, unrolled: true, fixed: { batch: 2, length: 61 } }, 61],
  ])('%j at %i tokens', async (options, length) => {
    const { model, report } = rewriteModel(original, { ...options, chunkBytes: 8000, strict: true });
    expect(decodeModel(model).opsetImport).toMatchObject([{ version }]);
    const k = typeof options.attention === 'object' ? options.attention.k : length;
    expect(report.blocks).toMatchObject([{ result: options.attention === undefined ? 'exact' : 'top-k' }]);
    const feeds = feedsOf(original, { batch: 2, length });
    const actual = await runModel(model, feeds);
    // Where keys are left out, what the same file gives as a new operator set.
    const newest = readTestModel('block-bert4');
    const expected = k >= length ? original : rewriteModel(newest, { attention: { k } }).model;
    expect(largestGap(actual.data, (await runModel(expected, feeds)).data)).toBeLessThan(1e-5);
  });
});
