import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import type { Attributes } from '../../src/onnx/attributes.js';
import type { ElementType } from '../../src/onnx/data-types.js';
import type { Dims } from '../../src/onnx/dims.js';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { rewriteModel } from '../../src/rewrite/index.js';
import { largestGap, type Output, runOutputs } from '../support/run-model.js';

// Operators for a whole block, computed by ONNX Runtime itself and rewritten. The operator Attention is of set 23.

const HEADS = 4;
const KEY_HEADS = 2;
// GroupQueryAttention takes heads of a multiple of 16.
const WIDTH = 64;
const DEPTH = WIDTH / HEADS;

type Input = readonly [name: string, dims: Dims, type?: ElementType];

interface Case {
  readonly op: string;
  /** In the operator's order; an empty name leaves one out. */
  readonly inputs: readonly Input[];
  readonly attributes?: Attributes;
  readonly outputs?: readonly Dims[];
  /** Extents that are not 2 for `b`, 13 or 70 for `l`, 2 more for `s` and 5 for `p`. */
  readonly extents?: Readonly<Record<string, number>>;
  /** Tokens so far in each row of the batch, where a past has room for more. */
  readonly filled?: (length: number) => readonly number[];
}

const none: Input = ['', []];
const states = (name: string, length = 's', width = WIDTH): Input => [name, ['b', length, width]];
const inHeads = (name: string, length: string, heads = HEADS): Input => [name, ['b', heads, length, DEPTH]];
const past = [inHeads('past_key', 'p'), inHeads('past_value', 'p')];
const present = ['b', HEADS, 'p+s', DEPTH] as const;
const contrib = 'com.microsoft.';
const multiHead = `${contrib}MultiHeadAttention`;
const packed = `${contrib}Attention`;
const grouped = `${contrib}GroupQueryAttention`;
const projected = [states('x', 'l'), ['w', [WIDTH, 3 * WIDTH]], ['c', [3 * WIDTH]]] as const;
const keyWidth = KEY_HEADS * DEPTH;
const groups = [states('q', 'l'), states('k', 'l', keyWidth), states('v', 'l', keyWidth)];
const groupPast = [inHeads('past_key', 'p', KEY_HEADS), inHeads('past_value', 'p', KEY_HEADS)];
const groupPresent = ['b', KEY_HEADS, 'p+l', DEPTH] as const;
const groupBuffer = ['b', KEY_HEADS, 'p', DEPTH] as const;
const counts: readonly Input[] = [
  ['counts', ['b'], 'i32'],
  ['total', [1], 'i32'],
];
const tables: readonly Input[] = [
  ['cos', [128, DEPTH / 2]],
  ['sin', [128, DEPTH / 2]],
];
const group = { num_heads: HEADS, kv_num_heads: KEY_HEADS };
const flat = { q_num_heads: HEADS, kv_num_heads: HEADS };

const cases: Readonly<Record<string, Case>> = {
  MultiHeadAttention: {
    op: multiHead,
    inputs: [states('q', 'l'), states('k'), states('v')],
    attributes: { num_heads: HEADS },
  },
  'MultiHeadAttention with biases, a mask of keys, and a scale': {
    op: multiHead,
    inputs: [states('q', 'l'), states('k'), states('v'), ['c', [3 * WIDTH]], ['mask', ['b', 's'], 'i32']],
    attributes: { num_heads: HEADS, scale: { float: 0.3 }, mask_filter_value: { float: -1000 } },
  },
  'MultiHeadAttention with values of another width and added scores': {
    op: multiHead,
    inputs: [
      states('q', 'l'),
      states('k'),
      states('v', 's', 2 * WIDTH),
      none,
      none,
      ['added', [1, HEADS, 'l', 's']],
    ],
    attributes: { num_heads: HEADS },
    outputs: [['b', 'l', 2 * WIDTH]],
  },
  'MultiHeadAttention, causal, with a past': {
    op: multiHead,
    inputs: [states('q'), states('k'), states('v'), none, none, none, ...past],
    attributes: { num_heads: HEADS, unidirectional: 1 },
    outputs: [['b', 's', WIDTH], present, present],
  },
  'MultiHeadAttention on keys and values in heads': {
    op: multiHead,
    inputs: [states('q', 'l'), inHeads('k', 's'), inHeads('v', 's')],
    attributes: { num_heads: HEADS },
  },
  'com.microsoft.Attention': {
    op: packed,
    inputs: projected,
    attributes: { num_heads: HEADS },
  },
  'com.microsoft.Attention with a mask of keys': {
    op: packed,
    inputs: [...projected, ['mask', ['b', 'l'], 'i32']],
    attributes: { num_heads: HEADS },
  },
  'com.microsoft.Attention with a mask for every query': {
    op: packed,
    inputs: [...projected, ['mask', ['b', 'l', 'l'], 'i32']],
    attributes: { num_heads: HEADS },
  },
  'com.microsoft.Attention with numbers of keys, causal, and added scores': {
    op: packed,
    inputs: [...projected, ['counts', ['b'], 'i32'], none, ['added', ['b', 1, 'l', 'l']]],
    attributes: { num_heads: HEADS, unidirectional: 1 },
  },
  'com.microsoft.Attention with a past': {
    op: packed,
    inputs: [...projected, none, ['past', [2, 'b', HEADS, 'p', DEPTH]]],
    attributes: { num_heads: HEADS, unidirectional: 1 },
    outputs: [
      ['b', 'l', WIDTH],
      [2, 'b', HEADS, 'p+l', DEPTH],
    ],
  },
  'com.microsoft.Attention of other widths': {
    op: packed,
    inputs: [states('x', 'l'), ['w', [WIDTH, 128]], ['c', [128]]],
    attributes: { num_heads: HEADS, qkv_hidden_sizes: [32, 32, 64] },
  },
  'GroupQueryAttention, first input': {
    op: grouped,
    inputs: [...groups, none, none, ...counts],
    attributes: group,
    outputs: [
      ['b', 'l', WIDTH],
      ['b', KEY_HEADS, 'l', DEPTH],
      ['b', KEY_HEADS, 'l', DEPTH],
    ],
    extents: { p: 0 },
  },
  'GroupQueryAttention with rotary positions and an empty past': {
    op: grouped,
    inputs: [...groups, ...groupPast, ...counts, ...tables],
    attributes: { ...group, do_rotary: 1 },
    outputs: [['b', 'l', WIDTH], groupPresent, groupPresent],
    extents: { p: 0 },
  },
  'GroupQueryAttention with rotary positions and a past': {
    op: grouped,
    inputs: [...groups, ...groupPast, ...counts, ...tables],
    attributes: { ...group, do_rotary: 1 },
    outputs: [['b', 'l', WIDTH], groupPresent, groupPresent],
    extents: { b: 1 },
  },
  'GroupQueryAttention in a window': {
    op: grouped,
    inputs: [...groups, ...groupPast, ...counts, ...tables],
    attributes: { ...group, do_rotary: 1, local_window_size: 4, scale: { float: 0.7 } },
    outputs: [['b', 'l', WIDTH], groupPresent, groupPresent],
    extents: { b: 1 },
  },
  'GroupQueryAttention of one token': {
    op: grouped,
    inputs: [...groups, ...groupPast, ...counts, ...tables],
    attributes: { ...group, do_rotary: 1 },
    outputs: [['b', 'l', WIDTH], groupPresent, groupPresent],
    extents: { l: 1 },
  },
  'GroupQueryAttention with a buffer': {
    op: grouped,
    inputs: [...groups, ...groupPast, ...counts, ...tables],
    attributes: { ...group, do_rotary: 1 },
    outputs: [['b', 'l', WIDTH], groupBuffer, groupBuffer],
    extents: { b: 1, p: 90 },
    filled: (length) => [length + 8],
  },
  'GroupQueryAttention with an empty buffer': {
    op: grouped,
    inputs: [...groups, ...groupPast, ...counts, ...tables],
    attributes: { ...group, do_rotary: 1 },
    outputs: [['b', 'l', WIDTH], groupBuffer, groupBuffer],
    extents: { p: 90 },
    filled: (length) => [length - 2, length],
  },
  'GroupQueryAttention of one token, with a buffer and a window': {
    op: grouped,
    inputs: [...groups, ...groupPast, ...counts, ...tables],
    attributes: { ...group, do_rotary: 1, local_window_size: 4 },
    outputs: [['b', 'l', WIDTH], groupBuffer, groupBuffer],
    extents: { p: 20, l: 1 },
    filled: () => [20, 6],
  },
  'Attention, causal': {
    op: 'Attention',
    inputs: [states('q'), states('k'), states('v')],
    attributes: { ...flat, is_causal: 1 },
    outputs: [['b', 's', WIDTH]],
  },
  'Attention, causal, with fewer queries than keys': {
    op: 'Attention',
    inputs: [states('q', 'l'), states('k'), states('v')],
    attributes: { ...flat, is_causal: 1 },
  },
  'Attention, causal, with a mask': {
    op: 'Attention',
    inputs: [inHeads('q', 's'), inHeads('k', 's'), inHeads('v', 's'), ['seen', ['b', 1, 's', 's'], 'bool']],
    attributes: { is_causal: 1 },
    outputs: [['b', HEADS, 's', DEPTH]],
  },
  'Attention with a past': {
    op: 'Attention',
    inputs: [states('q'), states('k'), states('v'), none, ...past],
    attributes: flat,
    outputs: [['b', 's', WIDTH], present, present],
  },
  'Attention, causal, with a past, in heads': {
    op: 'Attention',
    inputs: [inHeads('q', 's'), inHeads('k', 's'), inHeads('v', 's'), none, ...past],
    attributes: { is_causal: 1, scale: { float: 0.2 } },
    outputs: [['b', HEADS, 's', DEPTH], present, present],
  },
};

function modelOf(
  { op, inputs, attributes = {}, outputs = [['b', 'l', WIDTH]] }: Case,
  opset = 17,
): Uint8Array {
  const onnx = new GraphBuilder();
  const names = inputs.map(([name, dims, type = 'f32']) => (name === '' ? '' : onnx.input(name, type, dims)));
  const isContrib = op.startsWith(contrib);
  const opType = isContrib ? op.slice(contrib.length) : op;
  const made = onnx.ops(opType, names, outputs.length, attributes, isContrib ? 'com.microsoft' : '');
  for (const [at, dims] of outputs.entries()) onnx.output(made[at] as string, 'f32', dims);
  const opsetImport = [
    { domain: '', version: isContrib ? opset : 23 },
    { domain: 'com.microsoft', version: 1 },
  ];
  const model = onnx.model();
  const graph = model.graph as GraphProto;
  // Old sets have no operator Shape for one axis; nothing here needs it.
  const node = graph.node.filter((one) => one.opType !== 'Shape');
  const irVersion = isContrib ? 10 : 11;
  return encodeModel({ ...model, graph: { ...graph, node }, irVersion, opsetImport });
}

function feedsOf(
  { inputs, extents = {}, filled }: Case,
  length: number,
): Readonly<Record<string, ort.Tensor>> {
  const named: Readonly<Record<string, number>> = { b: 2, l: length, s: length + 2, p: 5, ...extents };
  const tokens = filled?.(length);
  const total = tokens === undefined ? (named.p as number) + (named.l as number) : Math.max(...tokens);
  const tensor = ([name, dims, type = 'f32']: Input): ort.Tensor => {
    const whole = dims.map((dim) => (typeof dim === 'number' ? dim : (named[dim] as number)));
    const size = whole.reduce((product, extent) => product * extent, 1);
    const each = (value: (at: number) => number): readonly number[] =>
      Array.from({ length: size }, (_, at) => value(at));
    // Rows of the batch end in padding; what the operator counts is one less than all tokens.
    const seen = (at: number): number => Number(at % (whole.at(-1) as number) < 11);
    if (type === 'bool') return new ort.Tensor('bool', each(seen).map(Boolean), whole);
    if (type === 'i32') {
      const isGrouped = inputs.some(([other]) => other === 'total');
      const count = (at: number): number => (isGrouped ? (tokens?.[at] ?? total) - 1 : 7 + at);
      const value = name === 'total' ? () => total : name === 'counts' ? count : seen;
      return new ort.Tensor('int32', Int32Array.from(each(value)), whole);
    }
    const seed = name.length + (name.codePointAt(0) as number);
    // Weights are small, so that scores are no larger than those of trained models.
    const value = (at: number): number => Math.sin((at + seed) * 12.9898 + seed) * (name === 'w' ? 0.1 : 1);
    return new ort.Tensor('float32', Float32Array.from(each(value)), whole);
  };
  return Object.fromEntries(inputs.flatMap((input) => (input[0] === '' ? [] : [[input[0], tensor(input)]])));
}

/** The largest difference where there are tokens: queries may end in padding, and a buffer has room for more. */
function gapOf({ filled }: Case, length: number, actual: Float32Array, { dims, data }: Output): number {
  const tokens = filled?.(length);
  if (tokens === undefined) return largestGap(actual, data);
  const [slots = 0, depth = 0] = dims.slice(-2);
  const perRow = data.length / tokens.length;
  const isFilled = (_: number, at: number): boolean =>
    Math.floor(at / depth) % slots < (tokens[Math.floor(at / perRow)] as number);
  return largestGap(actual.filter(isFilled), data.filter(isFilled));
}

describe.each(Object.keys(cases))('%s', (name) => {
  const one = cases[name] as Case;
  const original = modelOf(one);

  test.each(['exact', { k: 80 }] as const)('attention %j is the same function', async (attention) => {
    const { model, report } = rewriteModel(original, { attention, chunkBytes: 3000, strict: true });
    const result = attention === 'exact' ? 'exact' : 'top-k';
    expect(report.blocks).toMatchObject([{ form: one.op, result }]);
    for (const length of [13, 70]) {
      const feeds = feedsOf(one, length);
      const actual = await runOutputs(model, feeds);
      const expected = await runOutputs(original, feeds);
      expect(actual.map(({ dims }) => dims)).toEqual(expected.map(({ dims }) => dims));
      for (const [at, { data }] of actual.entries())
        expect(gapOf(one, length, data, expected[at] as Output), `output ${at}`).toBeLessThan(1e-5);
    }
  });
});

describe.each([9, 10, 11, 12])('in operator set %i', (opset) => {
  test.each(Object.keys(cases).filter((name) => cases[name]?.op.startsWith(contrib)))('%s', async (name) => {
    const one = cases[name] as Case;
    const original = modelOf(one, opset);
    for (const attention of ['exact', { k: 80 }] as const) {
      const { model, report } = rewriteModel(original, { attention, chunkBytes: 3000 });
      if (one.op === grouped && opset < 12) {
        const reason = expect.stringContaining(`operator set ${opset}, not 12 or later`);
        expect(report.blocks).toMatchObject([{ form: grouped, result: 'refused', reason }]);
        continue;
      }
      expect(report.blocks).toMatchObject([{ result: attention === 'exact' ? 'exact' : 'top-k' }]);
      const feeds = feedsOf(one, 13);
      const expected = await runOutputs(original, feeds);
      for (const [at, { data }] of (await runOutputs(model, feeds)).entries())
        expect(gapOf(one, 13, data, expected[at] as Output), `output ${at}`).toBeLessThan(1e-5);
    }
  });
});

test('a past and what is returned of it may share memory', async () => {
  const one = cases['GroupQueryAttention of one token, with a buffer and a window'] as Case;
  const original = modelOf(one);
  const { model } = rewriteModel(original, { strict: true });
  const run = async (bytes: Uint8Array): Promise<readonly Output[]> => {
    const session = await ort.InferenceSession.create(bytes, { logSeverityLevel: 3 });
    const feeds = feedsOf(one, 1);
    const [output, key, value] = session.outputNames as [string, string, string];
    const shared = { [key]: feeds.past_key as ort.Tensor, [value]: feeds.past_value as ort.Tensor };
    const made = await session.run(feeds, { [output]: null, ...shared });
    await session.release();
    // The engine has written where the past was.
    expect(feeds.past_key?.data).not.toEqual(feedsOf(one, 1).past_key?.data);
    return [made[output], feeds.past_key, feeds.past_value] as readonly unknown[] as readonly Output[];
  };
  const expected = await run(original);
  for (const [at, { data }] of (await run(model)).entries())
    expect(gapOf(one, 1, data, expected[at] as Output), `output ${at}`).toBeLessThan(1e-5);
});

test('an operator that is refused is told from another of the same name', () => {
  const onnx = new GraphBuilder();
  for (const length of ['l', 13]) {
    const x = onnx.input(`x${length}`, 'f32', [1, length, WIDTH]);
    const made = onnx.op('MultiHeadAttention', [x, x, x], { num_heads: HEADS }, 'com.microsoft');
    onnx.output(made, 'f32', [1, length, WIDTH]);
  }
  const model = onnx.model();
  const graph = model.graph as GraphProto;
  const node = graph.node.map((one) => (one.opType === 'Shape' ? one : { ...one, name: 'attention' }));
  const opsetImport = [
    { domain: '', version: 17 },
    { domain: 'com.microsoft', version: 1 },
  ];
  const bytes = encodeModel({ ...model, graph: { ...graph, node }, opsetImport });
  // Only the block of the open length is refused, after its operator was replaced with plain nodes.
  const { model: rewritten, report } = rewriteModel(bytes, { unrolled: true });
  expect(report.blocks).toMatchObject([
    { name: 'attention', form: multiHead, result: 'refused', code: 'unrolled' },
    { name: 'attention', form: multiHead, result: 'exact' },
  ]);
  const left = decodeModel(rewritten).graph?.node.filter(({ opType }) => opType === 'MultiHeadAttention');
  expect(left).toHaveLength(1);
});
