// Which blocks become ONNX Runtime's MultiHeadAttention, whatever their nodes.
import { describe, expect, test } from 'vitest';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto, NodeProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { floatOf, intOf } from '../../src/rewrite/graph/attributes.js';
import { formatReport, type RewriteOptions, rewriteModel } from '../../src/rewrite/index.js';
import {
  type Block,
  expectSame,
  finish,
  HEADS,
  modelOf,
  multiHead,
  nodesOf,
  operatorsOf,
  plain,
  product,
  type Shapes,
  softmax,
  times,
  usual,
} from '../support/attention-block.js';

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
  'keys and values that the file repeats for groups of heads': {
    build: (block) => {
      const { onnx, k, v } = block;
      const repeated = (value: string, shape: readonly number[]): string => {
        const open = onnx.op('Unsqueeze', [value, onnx.i64([2])]);
        return onnx.op('Reshape', [onnx.op('Expand', [open, onnx.i64([1, 1, 2, 1, 1])]), onnx.i64(shape)]);
      };
      return plain({ ...block, k: repeated(k, [0, 4, 8, -1]), v: repeated(v, [0, 4, -1, 8]) });
    },
    shapes: { q: ['b', 4, 'l', 8], k: ['b', 2, 8, 's'], v: ['b', 2, 's', 8] },
    scale: 1,
    heads: 4,
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

test.each([9, 11, 13])('in operator set %i, whose file has no operators of ONNX Runtime', async (version) => {
  const { opsetImport: _, ...model } = decodeModel(modelOf(plain));
  const graph = model.graph as GraphProto;
  // The builder asks for single axes, as old sets cannot; nothing here needs it.
  const node = graph.node.filter(({ opType }) => opType !== 'Shape');
  const opsetImport = [{ domain: '', version }];
  const original = encodeModel({ ...model, graph: { ...graph, node }, opsetImport });
  const { model: rewritten } = rewriteModel(original, { contrib: true, strict: true });
  expect(operatorsOf(rewritten)).toHaveLength(1);
  expect(decodeModel(rewritten).opsetImport).toMatchObject([
    { version },
    { domain: 'com.microsoft', version: 1 },
  ]);
  await expectSame(original, rewritten);
});

test('in both branches of a choice', async () => {
  const original = modelOf((block) => {
    const { onnx, mask } = block;
    // Of the lengths below, both ways are taken.
    const isSmall = onnx.op('Less', [onnx.op('ReduceMax', [mask], { keepdims: 0 }), onnx.f32(1.99)]);
    const output = { type: 'f32', shape: usual.q } as const;
    const way = (inner: GraphBuilder, scale: number): readonly string[] => {
      const one = { ...block, onnx: inner };
      return [finish(one, times(one, product(one), scale))];
    };
    return onnx.branch(
      isSmall,
      [output],
      (inner) => way(inner, 0.5),
      (inner) => way(inner, 0.25),
    )[0] as string;
  });
  const { model, report } = rewriteModel(original, { contrib: true, strict: true });
  expect(report.blocks).toMatchObject(Array(2).fill({ contrib: { operator: multiHead } }));
  expect(operatorsOf(model).map((node) => floatOf(node, 'scale'))).toEqual([0.5, 0.25]);
  await expectSame(original, model);
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
