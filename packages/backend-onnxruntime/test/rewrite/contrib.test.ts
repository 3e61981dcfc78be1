// Blocks as ONNX Runtime's own MultiHeadAttention, where that is asked for.
import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { describe, expect, test } from 'vitest';
import { decodeModel } from '../../src/onnx/read-model.js';
import { Lengths } from '../../src/rewrite/extents/lengths.js';
import { type BlockReport, formatReport, type RewriteReport, rewriteModel } from '../../src/rewrite/index.js';
import { multiHead, nodesOf, operatorsOf } from '../support/attention-block.js';
import { extentsOf, feedsOf, largestGap, type Output, openModel, runsOf } from '../support/run-model.js';

function importsOf(bytes: Uint8Array): readonly (string | undefined)[] {
  return decodeModel(bytes).opsetImport.map(({ domain = '', version }) => `${domain} ${version}`);
}

const isOperator = ({ contrib }: BlockReport): boolean => contrib !== undefined && 'operator' in contrib;
const reasonOf = ({ blocks }: RewriteReport): string | undefined => {
  const contrib = blocks[0]?.contrib;
  return contrib !== undefined && 'reason' in contrib ? contrib.reason : undefined;
};

// What attends without a mask: pictures, sound, and texts to the sound.
const unmasked: Readonly<Record<string, number>> = {
  vit: 2,
  'whisper-encoder': 2,
  'whisper-decoder': 2,
};
const whole = testModels.filter(({ variant }) => variant === undefined);

describe.each(whole.filter(({ family }) => family in unmasked))('$name', ({ name, family, blocks }) => {
  const original = readTestModel(name);
  const { model, report } = rewriteModel(original, { contrib: true, chunkBytes: 8000, strict: true });

  test('is the same function, and the report names the operator', async () => {
    expect(report.blocks).toHaveLength(blocks);
    expect(report.blocks.filter(isOperator)).toHaveLength(unmasked[family] as number);
    expect(operatorsOf(model)).toHaveLength(unmasked[family] as number);
    expect(formatReport(report)).toMatch(new RegExp(`, contrib\n[^]*exact   .* MiB -> ${multiHead}\n`));
    const [before, after] = [await openModel(original), await openModel(model)];
    for (const run of runsOf(family, [
      { batch: 2, length: 13 },
      { batch: 1, length: 101 },
    ])) {
      const feeds = feedsOf(original, run);
      const expected = await before.run(feeds);
      for (const [at, { dims, data }] of (await after.run(feeds)).entries()) {
        expect(dims).toEqual(expected[at]?.dims);
        expect(largestGap(data, (expected[at] as Output).data), `output ${at}`).toBeLessThan(1e-5);
      }
    }
    await Promise.all([before.release(), after.release()]);
  });

  test('no value outside of the operator has an axis for the queries and one for the keys', () => {
    // A picture has 64 patches and a token for the class; sound is as long as its table of positions.
    const fixed = { vit: 65, 'whisper-encoder': 24 }[family];
    const run = { batch: 1, length: fixed ?? 1021, past: 3, source: 1019 };
    const long = fixed === undefined ? [1021, 1024, 1019] : [fixed];
    const squares = (bytes: Uint8Array): readonly string[] => {
      const { reported } = new Lengths(decodeModel(bytes), new Map(), extentsOf(bytes, run));
      return [...reported.values()].flatMap(({ name: value, known: { dims } }) =>
        dims.filter((extent) => long.includes(extent)).length > 1 ? [value] : [],
      );
    };
    expect(squares(original)).not.toEqual([]);
    expect(squares(model)).toEqual([]);
    expect(report.left).toEqual([]);
  });

  test('the domain of the operator is imported once', () => {
    expect(importsOf(model)).toEqual([...importsOf(original), 'com.microsoft 1']);
    expect(nodesOf(model).filter(({ opType }) => opType === 'Softmax')).toHaveLength(
      blocks - (unmasked[family] as number),
    );
  });
});

test.each(testModels.filter(({ name }) => !importsOf(readTestModel(name)).includes('com.microsoft 1')))(
  '$name has standard operators by default',
  ({ name }) => {
    const { model, report } = rewriteModel(readTestModel(name));
    expect(nodesOf(model).filter(({ domain = '' }) => domain !== '')).toEqual([]);
    expect(importsOf(model)).toEqual(importsOf(readTestModel(name)));
    expect(report.contrib).toBe(false);
    for (const block of report.blocks) expect(block).not.toHaveProperty('contrib');
  },
);

describe('what stays in standard operators', () => {
  test.each<readonly [string, RegExp]>([
    ['bert-eager-traced-17', /^Add \/\S+ may hide keys or add to the scores$/],
    ['bert-sdpa-export-23', /^Attention \S+ may hide keys or add to the scores$/],
    ['gpt2-merged-sdpa-traced-17', /^Add \S+ may hide keys or add to the scores$/],
    ['t5-encoder-eager-traced-17', /^Add \S+ may hide keys or add to the scores$/],
    ['block-distilbert4', /^Where \S+ may hide keys or add to the scores$/],
    [
      'whisper-decoder-with-past-sdpa-export-18',
      /^(Add \S+ may hide keys or add to the scores|its keys or values come from an input, and .*)$/,
    ],
    ['block-bart4', /^Reshape \S+ changes the scores$/],
    ['bert-eager-traced-17-fp16', /^it has numbers other than float32$/],
    ['vit-sdpa-export-23-fp16-whole', /^it has numbers other than float32$/],
  ])('%s, as without the option', (name, reason) => {
    const original = readTestModel(name);
    const { model, report } = rewriteModel(original, { contrib: true, strict: true });
    for (const block of report.blocks) {
      expect(block).toMatchObject({ result: 'exact', contrib: { reason: expect.stringMatching(reason) } });
    }
    expect(Buffer.compare(model, rewriteModel(original).model)).toBe(0);
    expect(formatReport(report)).toContain(`; standard operators: ${reasonOf(report)}\n`);
  });

  test('what is refused is refused as before', () => {
    const original = readTestModel('block-weights-returned');
    const { model, report } = rewriteModel(original, { contrib: true });
    expect(report.blocks).toMatchObject([{ result: 'refused', code: 'weights-used' }]);
    expect(report.blocks[0]).not.toHaveProperty('contrib');
    expect(Buffer.compare(model, original)).toBe(0);
    expect(() => rewriteModel(original, { contrib: true, strict: true })).toThrow(/not everything/);
  });
});
