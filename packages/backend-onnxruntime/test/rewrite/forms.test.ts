import { readTestModel } from '@topk-attention/onnx-models';
import { describe, expect, test } from 'vitest';
import { subgraphsOf } from '../../src/onnx/attributes.js';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { formatReport, rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, largestGap, runModel } from '../support/run-model.js';

/** How often each operator is in a model, inner graphs included. */
function operatorsOf(bytes: Uint8Array): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  const count = ({ node }: GraphProto): void => {
    for (const one of node) {
      counts.set(one.opType ?? '', (counts.get(one.opType ?? '') ?? 0) + 1);
      for (const inner of subgraphsOf(one)) count(inner);
    }
  };
  count(decodeModel(bytes).graph as GraphProto);
  return counts;
}

describe('unrolled', () => {
  const fixed = { batch: 2, length: 61 };

  test.each([
    ['bert-eager-traced-17', 'bert'],
    ['gpt2-sdpa-export-18', 'gpt2'],
    ['block-bert4-opset-9', 'block'],
  ])('%s has no control flow', async (name, family) => {
    const original = readTestModel(name);
    const feedForward = 'chunked';
    const feeds = feedsOf(original, fixed);
    const options = { fixed, feedForward, chunkBytes: 8000, strict: true } as const;
    for (const attention of ['exact', { k: 5 }] as const) {
      const { model, report } = rewriteModel(original, { ...options, attention, unrolled: true });
      expect(report.unrolled).toBe(true);
      expect(report.feedForwards).toHaveLength(family === 'block' ? 0 : 2);
      const operators = operatorsOf(model);
      for (const control of ['Loop', 'If', 'Scan']) expect(operators.get(control)).toBeUndefined();
      const looped = rewriteModel(original, { ...options, attention });
      expect(operatorsOf(looped.model).get('Loop')).toBeGreaterThan(0);
      const expected = await runModel(attention === 'exact' ? original : looped.model, feeds);
      expect(largestGap((await runModel(model, feeds)).data, expected.data)).toBeLessThan(1e-5);
    }
  });

  test('an open length is refused by name, and too many copies', () => {
    const original = readTestModel('block-bert4');
    const [open] = rewriteModel(original, { unrolled: true }).report.blocks;
    expect(open).toMatchObject({ result: 'refused', code: 'unrolled' });
    expect(open?.reason).toContain('fixed');
    const long = { fixed: { batch: 1, length: 9000 }, chunkBytes: 1 };
    const [block] = rewriteModel(original, { ...long, unrolled: true }).report.blocks;
    expect(block).toMatchObject({ code: 'unrolled' });
    expect(block?.reason).toContain('9000 copies');
  });
});

test('the report tells how many queries a chunk has, as even as the chunks are', () => {
  const [block] = rewriteModel(readTestModel('block-bert4'), { at: { length: 300 } }).report.blocks;
  expect(block?.chunk).toBe(150);
});

describe('forms that depend on the length', () => {
  const original = readTestModel('block-bert4');
  const rewritten = (options: Parameters<typeof rewriteModel>[1]): ReadonlyMap<string, number> =>
    operatorsOf(rewriteModel(original, { attention: { k: 3 }, ...options }).model);

  test('all of them, or those that inputs may need', () => {
    // A TopK alone; with a bound one more; from blocks two more, written twice.
    expect(rewritten({}).get('TopK')).toBe(1 + 2 + 2 * 3);
    expect(rewritten({ maxLength: 767 }).get('TopK')).toBe(1 + 2);
    expect(rewritten({ maxLength: 47 }).get('TopK')).toBe(1);
    expect(rewritten({ maxLength: 3 }).get('TopK')).toBeUndefined();
    expect(rewritten({ fixed: { length: 100 } }).get('TopK')).toBe(2);
    expect(rewritten({ fixed: { length: 800 } }).get('TopK')).toBe(2 * 3);
    expect(rewritten({ target: 'webgpu' }).get('TopK')).toBe(1);
  });

  test('a longer input than said is right as well', async () => {
    const feeds = feedsOf(original, { batch: 2, length: 90 });
    const { model } = rewriteModel(original, { attention: { k: 3 }, maxLength: 47 });
    const expected = await runModel(rewriteModel(original, { attention: { k: 3 } }).model, feeds);
    // The k best come in another order, so sums are rounded differently.
    expect(largestGap((await runModel(model, feeds)).data, expected.data)).toBeLessThan(1e-6);
  });

  test('chunks are larger for WebGPU', () => {
    const chunkOf = (options: Parameters<typeof rewriteModel>[1]): number | undefined =>
      rewriteModel(original, { at: { length: 4096 }, ...options }).report.blocks[0]?.chunk;
    expect(chunkOf({})).toBe(256);
    expect(chunkOf({ target: 'webgpu' })).toBe(1024);
  });
});

test('one row of a table that is shorter than the length that reports are for is not cut', async () => {
  const onnx = new GraphBuilder();
  const q = onnx.input('q', 'f32', ['b', 'l', 4]);
  const k = onnx.input('k', 'f32', ['b', 's', 4]);
  const table = onnx.weight(
    'table',
    'f32',
    [1, 64, 64],
    Float32Array.from({ length: 64 * 64 }, (_, at) => Math.sin(at)),
  );
  const keys = onnx.op('Gather', [onnx.op('Shape', [k]), onnx.i64([1])], { axis: 0 });
  const last = onnx.op('Sub', [keys, onnx.i64([1])]);
  const row = onnx.op('Slice', [table, last, keys, onnx.i64([1])]);
  const mask = onnx.op('Slice', [row, onnx.i64([0]), keys, onnx.i64([2])]);
  const scores = onnx.op('MatMul', [q, onnx.op('Transpose', [k], { perm: [0, 2, 1] })]);
  const weights = onnx.op('Softmax', [onnx.op('Add', [scores, mask])], { axis: -1 });
  onnx.output(onnx.op('MatMul', [weights, k]), 'f32', ['b', 'l', 4]);
  const original = encodeModel(onnx.model());
  const { model, report } = rewriteModel(original, { chunkBytes: 500 });
  expect(report.blocks).toMatchObject([{ result: 'exact' }]);
  const feeds = feedsOf(original, { batch: 2, length: 13 });
  expect(
    largestGap((await runModel(model, feeds)).data, (await runModel(original, feeds)).data),
  ).toBeLessThan(1e-5);
});

test('blocks of two branches, which have the same names, are told apart', () => {
  const { report } = rewriteModel(readTestModel('gpt2-merged-sdpa-traced-17'), { feedForward: 'chunked' });
  for (const found of [report.blocks, report.feedForwards]) {
    const places = found.map(({ place }) => place);
    expect(new Set(places)).toEqual(new Set(['then_branch of optimum::if', 'else_branch of optimum::if']));
    expect(new Set(found.map(({ name, place }) => `${name} ${place}`)).size).toBe(found.length);
  }
  expect(formatReport(report)).toContain('in then_branch of optimum::if (');
  const whole = rewriteModel(readTestModel('gpt2-sdpa-traced-17')).report;
  expect(whole.blocks.every((block) => !('place' in block))).toBe(true);
});
