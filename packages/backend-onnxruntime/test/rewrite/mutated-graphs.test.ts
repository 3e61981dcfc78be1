import { TopKError } from '@topk-attention/core';
import { readTestModel } from '@topk-attention/onnx-models';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto, ModelProto, NodeProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { type RewrittenModel, rewriteModel } from '../../src/rewrite/index.js';
import { feedsOf, largestGap, type Output, runOutputs } from '../support/run-model.js';

// Graphs that are whole but not as their exporter left them: what still runs must do the same rewritten.

const runs = Number(process.env.TOPK_FUZZ_RUNS || 100);
const seed = Number(process.env.TOPK_FUZZ_SEED || 13);
/** A decoder with a past and one without, and operators for whole blocks, as small as they can be. */
function merged(): ModelProto {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['b', 'l', 16]);
  const mask = onnx.input('mask', 'f32', ['b', 1, 1, 'm']);
  const past = onnx.input('past', 'f32', ['b', 'p', 16]);
  const counts = onnx.input('counts', 'i32', ['b']);
  const total = onnx.input('total', 'i32', [1]);
  const heads = { num_heads: 2, kv_num_heads: 2 };
  const output = { type: 'f32', shape: ['b', 'l', 16] } as const;
  const block = (on: GraphBuilder, keys: string): readonly string[] => {
    const scores = on.op('MatMul', [x, on.op('Transpose', [keys], { perm: [0, 2, 1] })]);
    const open = on.op('Unsqueeze', [scores, on.i64([1])]);
    const hidden = on.op('Squeeze', [on.op('Add', [open, mask]), on.i64([1])]);
    const plain = on.op('MatMul', [on.op('Softmax', [on.op('Add', [scores, scores])], { axis: -1 }), keys]);
    const masked = on.op('MatMul', [on.op('Softmax', [hidden], { axis: -1 }), keys]);
    return [on.op('Add', [plain, masked])];
  };
  const [states] = onnx.branch(
    onnx.input('cached', 'bool', [1]),
    [output],
    (on) => block(on, on.op('Concat', [past, x], { axis: 1 })),
    (on) => block(on, x),
  ) as [string];
  const whole = onnx.op('MultiHeadAttention', [states, states, x], { num_heads: 2 }, 'com.microsoft');
  const inputs = [whole, x, states, '', '', counts, total];
  onnx.output(onnx.op('GroupQueryAttention', inputs, heads, 'com.microsoft'), 'f32', ['b', 'l', 16]);
  const opsetImport = [
    { domain: '', version: 17 },
    { domain: 'com.microsoft', version: 1 },
  ];
  return { ...onnx.model(), opsetImport };
}

const names = [
  'block-bert4',
  'block-gpt4',
  'block-distilbert4',
  'block-bart4',
  'modernbert-eager-traced-17',
  // Without a mask.
  'vit-sdpa-export-18',
  'whisper-encoder-eager-traced-17',
];
const originals = names.map((name) => {
  const bytes = readTestModel(name);
  return { model: decodeModel(bytes), feeds: feedsOf(bytes, { batch: 2, length: 13 }) };
});
const OPERATORS = [
  'Add',
  'Sub',
  'Mul',
  'Where',
  'MatMul',
  'Softmax',
  'Transpose',
  'Identity',
  'Cast',
  'Gather',
  'Expand',
];

interface Edit {
  readonly kind: 'input' | 'operator' | 'swap' | 'drop' | 'attribute' | 'again';
  readonly place: number;
  readonly other: number;
}

const at = <T>(list: readonly T[], place: number): T | undefined => list[place % Math.max(1, list.length)];

function edited(graph: GraphProto, { kind, place, other }: Edit): GraphProto {
  const position = place % graph.node.length;
  const node = graph.node[position] as NodeProto;
  const names = [...graph.input, ...graph.initializer].map(({ name = '' }) => name);
  for (const { output } of graph.node.slice(0, position)) names.push(...output);
  const replace = (made: readonly NodeProto[]): GraphProto => ({
    ...graph,
    node: [...graph.node.slice(0, position), ...made, ...graph.node.slice(position + 1)],
  });
  switch (kind) {
    case 'input': {
      const input = node.input.map((name, index) =>
        index === other % node.input.length ? (at(names, other) ?? name) : name,
      );
      return replace([{ ...node, input }]);
    }
    case 'operator':
      return replace([{ ...node, opType: at(OPERATORS, other) ?? '' }]);
    case 'swap':
      return replace([{ ...node, input: [...node.input].reverse() }]);
    case 'drop':
      return replace([{ ...node, opType: 'Identity', input: node.input.slice(0, 1), attribute: [] }]);
    case 'attribute': {
      const change = (value: bigint): bigint => value + BigInt((other % 5) - 2);
      const attribute = node.attribute.map((one) => ({
        ...one,
        ...(one.i !== undefined && { i: change(BigInt(one.i)) }),
        ...(one.ints !== undefined && {
          ints: BigInt64Array.from(one.ints, (value) => change(BigInt(value))),
        }),
      }));
      return replace([{ ...node, attribute }]);
    }
    case 'again':
      // The value before this node is used once more, by one whose value nothing uses.
      return replace([{ ...node, name: 'again', output: [`again${place}`] }, node]);
  }
}

const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom('input', 'operator', 'swap', 'drop', 'attribute', 'again'),
  place: fc.nat(1000),
  other: fc.nat(1000),
});
const change = {
  edits: fc.array(edit, { minLength: 1, maxLength: 3 }),
  // As many as there are keys in a picture, and more than in the other models.
  k: fc.option(fc.constant(65), { nil: undefined }),
  contrib: fc.boolean(),
};

interface Ways {
  readonly k: number | undefined;
  readonly contrib: boolean;
}

/** So small that a chunk has few queries, or one. */
const CHUNK_BYTES = 3000;

/** Undefined where a model is refused as a whole; nothing but typed errors may be thrown. */
function rewritten(
  model: ModelProto,
  edits: readonly Edit[],
  { k, contrib }: Ways,
  chunkBytes = CHUNK_BYTES,
): (RewrittenModel & { readonly bytes: Uint8Array }) | undefined {
  const bytes = encodeModel({ ...model, graph: edits.reduce(edited, model.graph as GraphProto) });
  try {
    const attention = k === undefined ? 'exact' : { k };
    return { bytes, ...rewriteModel(bytes, { attention, contrib, feedForward: 'chunked', chunkBytes }) };
  } catch (error) {
    if (error instanceof TopKError) return undefined;
    throw error;
  }
}

/** The largest difference between outputs, relative to those beyond one. */
function gapOf(actual: readonly Output[], expected: readonly Output[]): number {
  return Math.max(
    ...actual.map(({ dims, data }, index) => {
      const other = expected[index] as Output;
      expect(dims).toEqual(other.dims);
      return largestGap(data, other.data) / Math.max(1, ...data.map(Math.abs).filter(Number.isFinite));
    }),
  );
}

test('changed graphs are rewritten or refused, and nothing else is thrown', () => {
  const models = [merged(), ...originals.map(({ model }) => model)];
  const [first] = models as [ModelProto];
  expect(rewritten(first, [], { k: undefined, contrib: false })?.report.blocks).toHaveLength(6);
  fc.assert(
    fc.property(fc.record({ model: fc.constantFrom(...models), ...change }), ({ model, edits, ...ways }) => {
      const blocks = rewritten(model, edits, ways)?.report.blocks ?? [];
      // Each edit may repeat the four blocks of the branches.
      expect(blocks.length).toBeLessThanOrEqual(6 + 4 * edits.length);
    }),
    { numRuns: runs, seed },
  );
});

test('changed graphs that run do the same rewritten', async () => {
  const some = Math.ceil(runs / 5);
  let compared = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.record({ original: fc.constantFrom(...originals), ...change }),
      async ({ original: { model, feeds }, edits, ...ways }) => {
        const made = rewritten(model, edits, ways);
        if (made === undefined || made.report.blocks.every(({ result }) => result === 'refused')) return;
        const expected = await runOutputs(made.bytes, feeds).catch(() => undefined);
        // The number that masks hide scores with may be put elsewhere: sums near the largest number overflow, in the engine's
        // product of one row or only in that of many.
        if (expected?.every(({ data }) => data.every(Number.isFinite)) !== true) return;
        compared++;
        const gap = gapOf(await runOutputs(made.model, feeds), expected);
        if (gap < 1e-4) return;
        expect(gap).toBe(Number.POSITIVE_INFINITY);
        const whole = rewritten(model, edits, ways, 2 ** 30) as RewrittenModel;
        expect(gapOf(await runOutputs(whole.model, feeds), expected)).toBeLessThan(1e-4);
      },
    ),
    { numRuns: some, seed },
  );
  expect(compared).toBeGreaterThan(some / 20);
});
