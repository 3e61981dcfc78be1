// Which blocks fit ONNX Runtime's MultiHeadAttention, whatever their nodes.
import * as ort from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { subgraphsOf } from '../../src/onnx/attributes.js';
import type { Dims } from '../../src/onnx/dims.js';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto, NodeProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { floatOf, intOf, operatorOf } from '../../src/rewrite/graph/attributes.js';
import { formatReport, learnAxes, type RewriteOptions, rewriteModel } from '../../src/rewrite/index.js';
import { largestGap, type Output, runOutputs } from '../support/run-model.js';

const multiHead = 'com.microsoft.MultiHeadAttention';
const HEADS = 3;

/** The values of a block: queries, keys with their last two axes exchanged, values, and an input [l, s] to make masks of. */
interface Block {
  readonly onnx: GraphBuilder;
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly mask: string;
}
type Shapes = Readonly<Record<'q' | 'k' | 'v' | 'mask', Dims>>;

const usual: Shapes = {
  q: ['b', HEADS, 'l', 8],
  k: ['b', HEADS, 8, 's'],
  v: ['b', HEADS, 's', 8],
  mask: ['l', 's'],
};

function modelOf(build: (block: Block) => string, shapes: Partial<Shapes> = {}): Uint8Array {
  const { q, k, v, mask } = { ...usual, ...shapes };
  const onnx = new GraphBuilder();
  const inputs = { q, k, v, mask };
  for (const [name, dims] of Object.entries(inputs)) onnx.input(name, 'f32', dims);
  // Keys and values that are inputs stay where they are: here they are computed.
  const [computedK, computedV] = [onnx.op('Neg', ['k']), onnx.op('Neg', ['v'])];
  const output = build({ onnx, q: 'q', k: computedK, v: computedV, mask: 'mask' });
  onnx.output(output, 'f32', [...q.slice(0, -1), v.at(-1) as number]);
  return encodeModel(onnx.model());
}

function feedsOf(
  bytes: Uint8Array,
  lengths: Readonly<Record<string, number>>,
): Readonly<Record<string, ort.Tensor>> {
  const inputs = (decodeModel(bytes).graph as GraphProto).input;
  return Object.fromEntries(
    inputs.map(({ name = '', type }) => {
      const dims = (type?.tensorType?.shape?.dim ?? []).map(
        ({ dimParam, dimValue }) => lengths[dimParam ?? ''] ?? Number(dimValue),
      );
      const size = dims.reduce((all, extent) => all * extent, 1);
      const seed = name.charCodeAt(0);
      const data = Float32Array.from({ length: size }, (_, at) => 2 * Math.sin((at + seed) * 12.9898 + seed));
      return [name, new ort.Tensor('float32', data, dims)];
    }),
  );
}

function nodesOf(bytes: Uint8Array): readonly NodeProto[] {
  const all = ({ node }: GraphProto): readonly NodeProto[] =>
    node.flatMap((one) => [one, ...subgraphsOf(one).flatMap(all)]);
  return all(decodeModel(bytes).graph as GraphProto);
}

const operatorsOf = (bytes: Uint8Array): readonly NodeProto[] =>
  nodesOf(bytes).filter((node) => operatorOf(node) === multiHead);

async function expectSame(
  original: Uint8Array,
  rewritten: Uint8Array,
  lengths: readonly Readonly<Record<string, number>>[] = [
    { b: 2, l: 13, s: 17 },
    { b: 1, l: 70, s: 90 },
    { b: 2, l: 1, s: 5 },
  ],
): Promise<void> {
  for (const one of lengths) {
    const feeds = feedsOf(original, one);
    const expected = await runOutputs(original, feeds);
    for (const [at, { dims, data }] of (await runOutputs(rewritten, feeds)).entries()) {
      expect(dims).toEqual(expected[at]?.dims);
      expect(largestGap(data, (expected[at] as Output).data), JSON.stringify(one)).toBeLessThan(1e-5);
    }
  }
}

const product = ({ onnx, q, k }: Block): string => onnx.op('MatMul', [q, k]);
const softmax = ({ onnx }: Block, scores: string): string => onnx.op('Softmax', [scores], { axis: -1 });
const finish = (block: Block, scores: string): string =>
  block.onnx.op('MatMul', [softmax(block, scores), block.v]);
const plain = (block: Block): string => finish(block, product(block));
const times = ({ onnx }: Block, value: string, factor: number): string =>
  onnx.op('Mul', [value, onnx.f32(factor)]);
/** Ones [1, 1, 1, 1] of the file, expanded to all scores. */
const allTrue = (block: Block): string => {
  const { onnx, mask } = block;
  const ones = onnx.cast(onnx.i64([1]), 'bool');
  return onnx.op('Expand', [onnx.op('Unsqueeze', [ones, onnx.i64([0])]), onnx.op('Shape', [mask])]);
};

interface Fitting {
  readonly build: (block: Block) => string;
  readonly shapes?: Partial<Shapes>;
  readonly scale: number;
  readonly heads?: number;
}

const fitting: Readonly<Record<string, Fitting>> = {
  'without a scale': { build: plain, scale: 1 },
  'values of another width': { build: plain, shapes: { v: ['b', HEADS, 's', 5] }, scale: 1 },
  'batches of heads': {
    build: plain,
    shapes: { q: ['b', 'l', 8], k: ['b', 8, 's'], v: ['b', 's', 8] },
    scale: 1,
    heads: 1,
  },
  'a scale of the scores, and one of the queries and of the keys': {
    build: (block) => {
      const [q, k] = [times(block, block.q, 0.5), times(block, block.k, 0.25)];
      return finish(block, times(block, product({ ...block, q, k }), -1.5));
    },
    scale: -0.1875,
  },
  'divided queries and scores': {
    build: (block) => {
      const { onnx } = block;
      const q = onnx.op('Div', [block.q, onnx.f32(4)]);
      return finish(block, onnx.op('Div', [product({ ...block, q }), onnx.f32([2])]));
    },
    scale: 0.125,
  },
  'a product with a factor and keys that are not turned': {
    build: (block) => {
      const { onnx, q, k } = block;
      return finish(
        block,
        onnx.op('FusedMatMul', [q, k], { alpha: { float: 0.3 }, transB: 1 }, 'com.microsoft'),
      );
    },
    shapes: { k: ['b', HEADS, 's', 8] },
    scale: Math.fround(0.3),
  },
  'keys and values that are joined of computed ones': {
    build: (block) => {
      const { onnx, k, v } = block;
      const [keys, values] = [
        onnx.op('Concat', [k, k], { axis: 3 }),
        onnx.op('Concat', [v, onnx.op('Neg', [v])], { axis: 2 }),
      ];
      return plain({ ...block, k: keys, v: values });
    },
    scale: 1,
  },
  'a guard against rows without keys, casts that change nothing, and no dropout': {
    build: (block) => {
      const { onnx, v } = block;
      const weights = softmax(block, onnx.cast(product(block), 'f32'));
      const guarded = onnx.op('Where', [onnx.op('IsNaN', [weights]), onnx.f32(0), weights]);
      return onnx.op('MatMul', [onnx.cast(onnx.op('Dropout', [guarded]), 'f32'), v]);
    },
    scale: 1,
  },
  'a mask that hides nothing, added': {
    build: (block) => {
      const { onnx } = block;
      const added = onnx.op('Where', [allTrue(block), onnx.f32(0), onnx.f32(Number.NEGATIVE_INFINITY)]);
      return finish(block, onnx.op('Add', [added, times(block, product(block), 0.5)]));
    },
    scale: 0.5,
  },
  'a mask that hides nothing, chosen by': {
    build: (block) => {
      const { onnx } = block;
      const hidden = onnx.op('Where', [allTrue(block), product(block), onnx.f32(-1e9)]);
      return finish(block, hidden);
    },
    scale: 1,
  },
};

describe.each(Object.keys(fitting))('%s', (name) => {
  const { build, shapes, scale, heads = HEADS } = fitting[name] as Fitting;
  const original = modelOf(build, shapes);
  const { model, report } = rewriteModel(original, { contrib: true, strict: true });

  test('becomes the operator', async () => {
    expect(report.blocks).toMatchObject([
      { result: 'exact', contrib: { operator: multiHead }, bytes: { after: 0 } },
    ]);
    const [operator, ...others] = operatorsOf(model) as [NodeProto];
    expect(others).toEqual([]);
    expect([intOf(operator, 'num_heads'), floatOf(operator, 'scale')]).toEqual([heads, scale]);
    expect(nodesOf(model).map(({ opType }) => opType)).not.toContain('Softmax');
    expect(report.left).toEqual([]);
    await expectSame(original, model);
  });

  test('unrolled, it needs no lengths', () => {
    const unrolled = rewriteModel(original, { contrib: true, unrolled: true, strict: true });
    expect(operatorsOf(unrolled.model)).toHaveLength(1);
    // In standard operators the open length is refused.
    expect(rewriteModel(original, { unrolled: true }).report.blocks).toMatchObject([{ code: 'unrolled' }]);
  });
});

test('no tokens, and no keys', async () => {
  const original = modelOf(plain);
  const { model } = rewriteModel(original, { contrib: true });
  await expectSame(original, model, [
    { b: 0, l: 3, s: 5 },
    { b: 2, l: 0, s: 5 },
    { b: 2, l: 3, s: 0 },
  ]);
});

interface Unfit {
  readonly build: (block: Block) => string;
  readonly shapes?: Partial<Shapes>;
  readonly reason: RegExp;
}

const unfit: Readonly<Record<string, Unfit>> = {
  'an added mask': {
    build: (block) => finish(block, block.onnx.op('Add', [product(block), block.mask])),
    reason: /^Add \S+ may hide keys or add to the scores$/,
  },
  'a mask of the input, of the kind that hides nothing by chance': {
    build: (block) => {
      const { onnx, mask } = block;
      const seen = onnx.op('Less', [mask, onnx.f32(100)]);
      const added = onnx.op('Where', [seen, onnx.f32(0), onnx.f32(-1e9)]);
      return finish(block, onnx.op('Add', [product(block), added]));
    },
    reason: /^Add \S+ may hide keys/,
  },
  'a mask that is all true up to some length': {
    build: (block) => {
      const { onnx, mask } = block;
      const length = onnx.op('Gather', [onnx.op('Shape', [mask]), onnx.i64([0])], { axis: 0 });
      const isShort = onnx.op('Less', [length, onnx.i64([5000])]);
      const added = onnx.op('Where', [isShort, onnx.f32(0), onnx.f32(1)]);
      return finish(block, onnx.op('Mul', [product(block), onnx.op('Add', [added, onnx.f32(1)])]));
    },
    reason: /^Mul \S+ changes the scores$/,
  },
  'a constant bias': {
    build: (block) => {
      const bias = block.onnx.f32([0, 0.5, 0]);
      const perHead = block.onnx.op('Reshape', [bias, block.onnx.i64([HEADS, 1, 1])]);
      return finish(block, block.onnx.op('Add', [product(block), perHead]));
    },
    reason: /^Add \S+ may hide keys/,
  },
  'a factor of the input': {
    build: (block) => {
      const most = block.onnx.op('ReduceMax', [block.mask], { keepdims: 0 });
      return finish(block, block.onnx.op('Mul', [product(block), most]));
    },
    reason: /^Mul \S+ changes the scores$/,
  },
  'a factor of 0': {
    build: (block) => finish(block, times(block, product(block), 0)),
    reason: /^its scores are multiplied with 0$/,
  },
  'divided by the scores': {
    build: (block) => finish(block, block.onnx.op('Div', [block.onnx.f32(1), product(block)])),
    reason: /^Div \S+ changes the scores$/,
  },
  'bent scores': {
    build: (block) => finish(block, block.onnx.op('Tanh', [product(block)])),
    reason: /^Tanh \S+ changes the scores$/,
  },
  'weights with a factor': {
    build: (block) => block.onnx.op('MatMul', [times(block, softmax(block, product(block)), 0.5), block.v]),
    reason: /^Mul \S+ changes the weights$/,
  },
  'a guard with another number': {
    build: (block) => {
      const { onnx, v } = block;
      const weights = softmax(block, product(block));
      return onnx.op('MatMul', [onnx.op('Where', [onnx.op('IsNaN', [weights]), onnx.f32(1), weights]), v]);
    },
    reason: /^Where \S+ changes the weights$/,
  },
  'weights in half precision': {
    build: (block) => {
      const { onnx, v } = block;
      const weights = onnx.cast(softmax(block, product(block)), 'f16');
      return onnx.op('MatMul', [onnx.cast(weights, 'f32'), v]);
    },
    reason: /^Cast \S+ changes the weights$/,
  },
  'heads that share keys and values': {
    build: plain,
    shapes: { k: ['b', 1, 8, 's'], v: ['b', 1, 's', 8] },
    reason: /^heads share keys or values: \[\d+,1,8,\d+\]/,
  },
  'an open number of heads': {
    build: plain,
    shapes: { q: ['b', 'h', 'l', 8], k: ['b', 'h', 8, 's'], v: ['b', 'h', 's', 8] },
    reason: /^the number of its heads, or their width, is open$/,
  },
  'a single matrix': {
    build: plain,
    shapes: { q: ['l', 8], k: [8, 's'], v: ['s', 8] },
    reason: /^its queries have 2 axes$/,
  },
  'keys of an earlier run': {
    build: (block) => plain({ ...block, k: 'k' }),
    reason: /^its keys or values come from an input, and the operator would copy them in every run$/,
  },
  'values of an earlier run beside new ones': {
    build: (block) => {
      const { onnx, k, v } = block;
      const twice = (one: string, other: string, axis: number): string => {
        const joined = onnx.op('Concat', [one, other], { axis });
        return onnx.op('Transpose', [onnx.op('Transpose', [joined], { perm: [1, 0, 2, 3] })], {
          perm: [1, 0, 2, 3],
        });
      };
      return plain({ ...block, k: twice(k, k, 3), v: twice(v, 'v', 2) });
    },
    reason: /^its keys or values come from an input/,
  },
  'a second product with a factor': {
    build: (block) => {
      const weights = softmax(block, product(block));
      return block.onnx.op('FusedMatMul', [weights, block.v], { alpha: { float: 2 } }, 'com.microsoft');
    },
    reason: /^com.microsoft.FusedMatMul \S+ is more than a product$/,
  },
};

test.each(Object.keys(unfit))('%s: standard operators, by name', async (name) => {
  const { build, shapes, reason } = unfit[name] as Unfit;
  const original = modelOf(build, shapes);
  const { model, report } = rewriteModel(original, { contrib: true, chunkBytes: 3000, strict: true });
  expect(report.blocks).toMatchObject([
    { result: 'exact', contrib: { reason: expect.stringMatching(reason) } },
  ]);
  expect(Buffer.compare(model, rewriteModel(original, { chunkBytes: 3000 }).model)).toBe(0);
  await expectSame(original, model, [{ b: 2, h: 2, l: 13, s: 17 }]);
});

test('what a run shows of a mask is not taken for what it always is', async () => {
  const original = modelOf((block) => {
    const { onnx, mask } = block;
    // No made-up number is so large, and the operator is of a kind that only a run can tell the outcome of.
    const large = onnx.cast(onnx.op('Greater', [mask, onnx.f32(100)]), 'i64');
    const isHidden = onnx.cast(onnx.op('Unique', [large]), 'bool');
    const added = onnx.op('Where', [isHidden, onnx.f32(-1), onnx.f32(0)]);
    return finish(block, onnx.op('Add', [product(block), added]));
  });
  const learned = await learnAxes(original, ort);
  const { report } = rewriteModel(original, { contrib: true, learned });
  expect(report.blocks).toMatchObject([
    { result: 'exact', contrib: { reason: expect.stringMatching(/^Add/) } },
  ]);
});

describe('with k', () => {
  const open = modelOf(plain);
  const short = modelOf(plain, { k: ['b', HEADS, 8, 9], v: ['b', HEADS, 9, 8], mask: ['l', 9] });

  test.each<readonly [string, Uint8Array, RewriteOptions, boolean]>([
    ['keys of any number', open, { attention: { k: 9 } }, false],
    ['more keys than k', short, { attention: { k: 8 } }, false],
    ['no more keys than k', short, { attention: { k: 9 } }, true],
    ['inputs no longer than k', open, { attention: { k: 9 }, maxLength: 9 }, true],
  ])('%s', async (_, original, options, isOperator) => {
    const { model, report } = rewriteModel(original, { ...options, contrib: true, strict: true });
    expect(operatorsOf(model)).toHaveLength(isOperator ? 1 : 0);
    const reason = expect.stringMatching(/^it keeps [89] keys of each query, which the operator cannot$/);
    expect(report.blocks).toMatchObject([
      isOperator
        ? { result: 'exact', contrib: { operator: multiHead } }
        : { result: 'top-k', contrib: { reason } },
    ]);
    const same = rewriteModel(original, options).model;
    if (isOperator) await expectSame(same, model, [{ b: 2, l: 13, s: 9 }]);
    else expect(Buffer.compare(model, same)).toBe(0);
  });
});

test('for WebGPU it is refused: no GPU has measured the operator', () => {
  expect(() => rewriteModel(modelOf(plain), { contrib: true, target: 'webgpu' })).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringMatching(/contrib.*'cpu'/) }),
  );
});

describe('operators of the file', () => {
  const operator = (
    inputs: readonly string[],
    attributes: { readonly [name: string]: number } = {},
    outputs = 1,
  ): Uint8Array => {
    const onnx = new GraphBuilder();
    const x = onnx.input('x', 'f32', ['b', 'l', 24]);
    onnx.input('c', 'f32', [72]);
    onnx.input('added', 'f32', [1, HEADS, 'l', 'l']);
    const states = onnx.op('Neg', [x]);
    const names = inputs.map((name) => (name === 'x' ? states : name));
    const all = { num_heads: HEADS, ...attributes };
    const made = onnx.ops('MultiHeadAttention', names, outputs, all, 'com.microsoft');
    onnx.output(made[0] as string, 'f32', ['b', 'l', 24]);
    for (const more of made.slice(1)) onnx.output(more, 'f32', ['b', HEADS, 'l', 8]);
    return encodeModel(onnx.model());
  };

  test.each([[['x', 'x', 'x']], [['x', 'x', 'x', 'c']]])('%j without a mask stays', (inputs) => {
    const original = operator(inputs);
    const { model, report } = rewriteModel(original, { contrib: true, strict: true });
    expect(Buffer.compare(model, original)).toBe(0);
    expect(report.blocks).toMatchObject([
      { form: multiHead, result: 'exact', contrib: { operator: multiHead } },
    ]);
    expect(formatReport(report)).toMatch(/1 of 1 attention blocks .*\n {2}exact .*: as it was\n/);
    // With k it is another function.
    const { report: cut } = rewriteModel(original, { contrib: true, attention: { k: 4 } });
    expect(cut.blocks).toMatchObject([{ form: multiHead, result: 'top-k' }]);
  });

  test.each<readonly [string, Uint8Array, boolean]>([
    ['causality', operator(['x', 'x', 'x'], { unidirectional: 1 }), false],
    ['added scores', operator(['x', 'x', 'x', '', '', 'added']), false],
    // What is returned beside it keeps the engine from its quick kernel; in nodes of its own it does not.
    ['keys and values as outputs', operator(['x', 'x', 'x'], {}, 3), true],
  ])('with %s it is written anew', async (_, original, isOperator) => {
    const { model, report } = rewriteModel(original, { contrib: true, strict: true });
    const reason = expect.stringMatching(/^com.microsoft.MultiHeadAttention \S+ may hide keys/);
    expect(report.blocks).toMatchObject([
      { form: multiHead, contrib: isOperator ? { operator: multiHead } : { reason } },
    ]);
    expect(operatorsOf(model)).toHaveLength(isOperator ? 1 : 0);
    for (const one of operatorsOf(model)) expect(one.output).toHaveLength(1);
    await expectSame(original, model, [{ b: 2, l: 13 }]);
  });
});
