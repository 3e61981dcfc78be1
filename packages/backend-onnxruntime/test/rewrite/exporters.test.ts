import { readTestModel, testModels } from '@topk-attention/onnx-models';
import { afterAll, describe, expect, test } from 'vitest';
import type { GraphProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { Lengths } from '../../src/rewrite/extents/lengths.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import {
  extentsOf,
  feedsOf,
  largestGap,
  type OpenModel,
  type Output,
  openModel,
  runsOf,
} from '../support/run-model.js';

type Rewritten = ReturnType<typeof rewriteModel>;

// So few bytes that the shorter input takes one chunk and the longer one several, the last of them not full.
const chunkBytes = 8000;
const inputs = [
  { batch: 2, length: 13 },
  { batch: 1, length: 101 },
];

// What is refused, or made smaller by other means, has tests of its own.
const rewritable = testModels.filter(({ name, variant }) => name !== 'block-weights-returned' && !variant);

// A picture has 64 patches and a token for the class; sound is as long as its table of positions.
const fixedLengths: Readonly<Record<string, number>> = { vit: 65, 'whisper-encoder': 24 };

describe.each(rewritable)('$name', ({ name, family, blocks }) => {
  const original = readTestModel(name);
  let opened: Promise<OpenModel> | undefined;
  /** The model as it was, node for node, open for all tests of it. */
  const openOriginal = (): Promise<OpenModel> => {
    opened ??= openModel(original, { graphOptimizationLevel: 'disabled' });
    return opened;
  };
  afterAll(async () => (await opened)?.release());
  const rewritings = new Map<string, Rewritten>();
  /** The model as rewritten, once for all tests of it. */
  const rewrittenWith = (attention: 'exact' | { readonly k: number }): Rewritten => {
    const key = JSON.stringify(attention);
    const made = rewritings.get(key) ?? rewriteModel(original, { attention, chunkBytes, strict: true });
    rewritings.set(key, made);
    return made;
  };

  test.each([
    { attention: 'exact' as const, result: 'exact' },
    // A picture never has so many patches, nor a sound of these models so many frames.
    { attention: { k: 200 }, result: family in fixedLengths ? 'exact' : 'top-k' },
  ])('attention $attention is the same function', async ({ attention, result }) => {
    const { model, report } = rewrittenWith(attention);
    expect(report.blocks.map((block) => block.result)).toEqual(Array(blocks).fill(result));
    const rewritten = await openModel(model);
    for (const run of runsOf(family, inputs)) {
      const feeds = feedsOf(original, run);
      expectSame(await rewritten.run(feeds), await (await openOriginal()).run(feeds));
    }
    await rewritten.release();
  });

  test('with few keys it is another function, and the same one each time', async () => {
    const { model } = rewrittenWith({ k: 16 });
    const rewritten = await openModel(model);
    for (const run of runsOf(family, [{ batch: 2, length: 29 }])) {
      const feeds = feedsOf(original, run);
      const [first] = (await rewritten.run(feeds)) as [Output];
      const [second] = (await rewritten.run(feeds)) as [Output];
      const [dense] = (await (await openOriginal()).run(feeds)) as [Output];
      expect(first.data).toEqual(second.data);
      expect(first.data.every(Number.isFinite)).toBe(true);
      expect(largestGap(first.data, dense.data)).toBeGreaterThan(1e-4);
    }
    await rewritten.release();
  });

  test('inputs, outputs, operator set and weights stay', () => {
    const before = decodeModel(original);
    const after = decodeModel(rewrittenWith('exact').model);
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

  test('no value has an axis for the queries and one for the keys', () => {
    // The constant mask of one block ends at 128.
    const fixed = fixedLengths[family];
    const length = fixed ?? (name === 'block-gpt4' ? 120 : 1021);
    for (const run of runsOf(family, [{ batch: 1, length, past: 3, source: 1019 }])) {
      const long = fixed === undefined ? [length, length + 3, 1019] : [fixed];
      const squares = (bytes: Uint8Array): readonly string[] => squaresOf(bytes, extentsOf(bytes, run), long);
      expect(squares(original)).not.toEqual([]);
      for (const attention of ['exact', { k: 16 }] as const) {
        expect(squares(rewrittenWith(attention).model)).toEqual([]);
      }
    }
  });
});

function expectSame(actual: readonly Output[], expected: readonly Output[]): void {
  expect(actual.map(({ dims }) => dims)).toEqual(expected.map(({ dims }) => dims));
  for (const [at, { data }] of actual.entries())
    expect(largestGap(data, (expected[at] as Output).data)).toBeLessThan(1e-5);
}

/** Values with two axes of the lengths, in every graph of the model. */
function squaresOf(
  bytes: Uint8Array,
  extents: ReadonlyMap<string, number>,
  long: readonly number[],
): readonly string[] {
  const model = decodeModel(bytes);
  const { reported } = new Lengths(model, new Map(), extents);
  // Of a merged decoder, what its branches return: of their own outputs the extents differ.
  const graph = model.graph as GraphProto;
  const branches = graph.node.flatMap(({ opType, attribute }) =>
    opType === 'If' ? attribute.flatMap(({ g }) => g ?? []) : [],
  );
  for (const one of branches.length > 0 ? branches : [graph]) {
    for (const { name = '' } of one.output) {
      expect(reported.known(one, name), reported.reason(one, name)).toBeDefined();
    }
  }
  return [...reported.values()].flatMap(({ name, known }) =>
    known.dims.filter((extent) => long.includes(extent)).length > 1 ? [`${name} [${known.dims}]`] : [],
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
