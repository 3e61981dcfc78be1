import { TopKError } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto, ModelProto, NodeProto } from '../../src/onnx/messages.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { formatReport, type RewriteOptions, rewriteModel } from '../../src/rewrite/index.js';

interface Block {
  readonly onnx: GraphBuilder;
  readonly q: string;
  readonly k: string;
  readonly v: string;
}

/** A model of one block; `build` returns its output. */
function modelOf(build: (block: Block) => string): Uint8Array {
  const onnx = new GraphBuilder();
  const q = onnx.input('q', 'f32', ['b', 2, 'l', 4]);
  const k = onnx.input('k', 'f32', ['b', 2, 4, 's']);
  const v = onnx.input('v', 'f32', ['b', 2, 's', 4]);
  onnx.output(build({ onnx, q, k, v }), 'f32', ['b', 2, 'l', 4]);
  return encodeModel(onnx.model());
}

const plain = ({ onnx, q, k, v }: Block): string =>
  onnx.op('MatMul', [onnx.op('Softmax', [onnx.op('MatMul', [q, k])], { axis: -1 }), v]);

const forms: Readonly<Record<string, readonly [string, (block: Block) => string]>> = {
  'scores that go elsewhere': [
    'scores-used',
    ({ onnx, q, k, v }) => {
      const scores = onnx.op('MatMul', [q, k]);
      const weights = onnx.op('Softmax', [scores], { axis: -1 });
      const sum = onnx.op('ReduceSum', [scores, onnx.i64([-1])], { keepdims: 1 });
      return onnx.op('Add', [onnx.op('MatMul', [weights, v]), sum]);
    },
  ],
  'weights that go elsewhere': [
    'weights-used',
    ({ onnx, q, k, v }) => {
      const weights = onnx.op('Softmax', [onnx.op('MatMul', [q, k])], { axis: -1 });
      const most = onnx.op('ReduceMax', [weights, onnx.i64([-1])], { keepdims: 1 });
      return onnx.op('Mul', [onnx.op('MatMul', [weights, v]), most]);
    },
  ],
  'a softmax over the queries': [
    'softmax-axis',
    ({ onnx, q, k, v }) =>
      onnx.op('MatMul', [onnx.op('Softmax', [onnx.op('MatMul', [q, k])], { axis: 2 }), v]),
  ],
  'two products in the scores': [
    'ambiguous',
    ({ onnx, q, k, v }) => {
      const other = onnx.op('MatMul', [onnx.op('Neg', [q]), k]);
      const scores = onnx.op('Add', [onnx.op('MatMul', [q, k]), other]);
      return onnx.op('MatMul', [onnx.op('Softmax', [scores], { axis: -1 }), v]);
    },
  ],
  'an unknown operator before the queries': [
    'unknown-extents',
    (block) => plain({ ...block, q: block.onnx.op('Mystery', [block.q]) }),
  ],
  'scores by Einsum': [
    'unknown-operator',
    ({ onnx, q, k, v }) => {
      const scores = onnx.op('Einsum', [q, k], { equation: 'bhld,bhds->bhls' });
      return onnx.op('MatMul', [onnx.op('Softmax', [scores], { axis: -1 }), v]);
    },
  ],
  'the operator Attention on values of unknown extents': [
    'unknown-extents',
    ({ onnx, q, k, v }) => {
      const keys = onnx.op('Transpose', [k], { perm: [0, 1, 3, 2] });
      return onnx.op('Attention', [q, keys, onnx.op('Mystery', [v])]);
    },
  ],
  'an operator Attention with a softcap': [
    'fused-operator',
    ({ onnx, q, k, v }) => {
      const keys = onnx.op('Transpose', [k], { perm: [0, 1, 3, 2] });
      return onnx.op('Attention', [q, keys, v], { softcap: { float: 30 } });
    },
  ],
  'packed queries, keys and values': [
    'fused-operator',
    ({ onnx, q }) => onnx.op('MultiHeadAttention', [q], { num_heads: 2 }, 'com.microsoft'),
  ],
  'GroupQueryAttention with sinks': [
    'fused-operator',
    ({ onnx, q, k, v }) => {
      const inputs = [q, k, v, '', '', 'counts', 'total', '', '', '', '', 'sinks'];
      onnx.input('counts', 'i32', ['b']);
      onnx.input('total', 'i32', [1]);
      onnx.input('sinks', 'f32', [2]);
      return onnx.op('GroupQueryAttention', inputs, { num_heads: 2, kv_num_heads: 2 }, 'com.microsoft');
    },
  ],
  'an operator of ONNX Runtime that is never expanded': [
    'fused-operator',
    ({ onnx, q, k, v }) => onnx.op('SparseAttention', [q, k, v], { num_heads: 2 }, 'com.microsoft'),
  ],
  'a softmax in single steps': [
    'taken-apart',
    ({ onnx, q, k, v }) => {
      const scores = onnx.op('MatMul', [q, onnx.op('Transpose', [k], { perm: [0, 1, 3, 2] })]);
      const powers = onnx.op('Exp', [
        onnx.op('Sub', [scores, onnx.op('ReduceMax', [scores], { axes: [-1] })]),
      ]);
      const total = onnx.op('ReduceSum', [powers, onnx.i64([-1])]);
      return onnx.op('MatMul', [onnx.op('Identity', [onnx.op('Div', [powers, total])]), v]);
    },
  ],
  'scores of whole numbers': [
    'quantized',
    ({ onnx, q, k, v }) => {
      const [a, , zeroA] = onnx.ops('DynamicQuantizeLinear', [q], 3) as [string, string, string];
      const [b, , zeroB] = onnx.ops('DynamicQuantizeLinear', [k], 3) as [string, string, string];
      const scores = onnx.op('Cast', [onnx.op('MatMulInteger', [a, b, zeroA, zeroB])], { to: 1 });
      return onnx.op('MatMul', [onnx.op('Softmax', [scores], { axis: -1 }), v]);
    },
  ],
};

describe.each(Object.keys(forms))('%s', (name) => {
  const [code, build] = forms[name] as (typeof forms)[string];
  const bytes = modelOf(build);

  test(`is refused as ${code} and stays`, () => {
    const { model, report } = rewriteModel(bytes);
    expect(report.blocks).toMatchObject([{ result: 'refused', code }]);
    expect(report.blocks[0]?.reason).toMatch(/\w/);
    expect(Buffer.compare(model, bytes)).toBe(0);
    expect(formatReport(report)).toContain(`0 of 1 attention blocks rewritten`);
    expect(formatReport(report)).toContain(code);
  });

  test('strict fails', () => {
    expect(() => rewriteModel(bytes, { strict: true })).toThrow(TopKError);
  });
});

test.each([
  ['MultiHeadAttention', 8],
  ['Attention', 6],
])('%s with a buffer for its past is refused by that name', (operator, place) => {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['b', 'l', 16]);
  const filled = onnx.input('filled', 'i32', [1]);
  const inputs = operator === 'Attention' ? [x, onnx.input('w', 'f32', [16, 48])] : [x, x, x];
  const none = Array<string>(place - inputs.length).fill('');
  const made = onnx.op(operator, [...inputs, ...none, filled], { num_heads: 2 }, 'com.microsoft');
  onnx.output(made, 'f32', ['b', 'l', 16]);
  const { report } = rewriteModel(encodeModel(onnx.model()));
  expect(report.blocks).toMatchObject([{ result: 'refused', code: 'fused-operator' }]);
  expect(report.blocks[0]?.reason).toContain('a buffer for its past');
});

test('values that heads share are refused with k, and rewritten exactly', () => {
  const onnx = new GraphBuilder();
  const q = onnx.input('q', 'f32', ['b', 2, 'l', 4]);
  const k = onnx.input('k', 'f32', ['b', 1, 4, 's']);
  const v = onnx.input('v', 'f32', ['b', 1, 's', 4]);
  onnx.output(plain({ onnx, q, k, v }), 'f32', ['b', 2, 'l', 4]);
  const bytes = encodeModel(onnx.model());
  expect(rewriteModel(bytes).report.blocks).toMatchObject([{ result: 'exact' }]);
  const { report } = rewriteModel(bytes, { attention: { k: 2 } });
  expect(report.blocks).toMatchObject([{ result: 'refused', code: 'shared-values' }]);
});

test('a softmax over classes is no attention', () => {
  const onnx = new GraphBuilder();
  const x = onnx.input('x', 'f32', ['b', 4]);
  const logits = onnx.op('MatMul', [x, onnx.input('w', 'f32', [4, 3])]);
  onnx.output(onnx.op('Softmax', [logits], { axis: -1 }), 'f32', ['b', 3]);
  const { report } = rewriteModel(encodeModel(onnx.model()), { strict: true });
  expect(report.blocks).toEqual([]);
  expect(report.otherSoftmaxes).toHaveLength(1);
});

test.each<readonly [RewriteOptions, string]>([
  [{ attention: { k: 0 } }, 'INVALID_K'],
  [{ attention: { k: 1.5 } }, 'INVALID_K'],
  [{ attention: {} as { k: number } }, 'INVALID_K'],
  [{ chunkBytes: 0 }, 'INVALID_OPTION'],
  [{ at: { length: 4 } }, 'INVALID_OPTION'],
  [{ fixed: { l: -1 } }, 'INVALID_OPTION'],
])('%o: %s', (options, code) => {
  expect(() => rewriteModel(modelOf(plain), options)).toThrow(expect.objectContaining({ code }));
});

describe('files that are no models', () => {
  const changed = (change: (graph: GraphProto) => GraphProto): Uint8Array => {
    const onnx = new GraphBuilder();
    const x = onnx.input('x', 'f32', ['b', 4]);
    onnx.output(onnx.op('Neg', [onnx.op('Abs', [x])]), 'f32', ['b', 4]);
    const model: ModelProto = onnx.model();
    return encodeModel({ ...model, graph: change(model.graph as GraphProto) });
  };

  test('nodes in a circle', () => {
    const bytes = changed((graph) => {
      const [first, second] = graph.node as [NodeProto, NodeProto];
      return { ...graph, node: [{ ...first, input: second.output }, second] };
    });
    expect(() => rewriteModel(bytes)).toThrow(expect.objectContaining({ code: 'FILE_CORRUPT' }));
  });

  test('a node that uses its own value', () => {
    const bytes = changed((graph) => ({
      ...graph,
      node: graph.node.map((node) => ({ ...node, input: node.output })),
    }));
    expect(() => rewriteModel(bytes)).toThrow(expect.objectContaining({ code: 'FILE_CORRUPT' }));
  });

  test('a value that is made twice', () => {
    const bytes = changed((graph) => ({ ...graph, node: [...graph.node, ...graph.node] }));
    expect(() => rewriteModel(bytes)).toThrow(expect.objectContaining({ code: 'FILE_CORRUPT' }));
  });

  test('an output that nothing makes', () => {
    const bytes = changed((graph) => ({ ...graph, output: [{ name: 'none' }] }));
    expect(() => rewriteModel(bytes)).toThrow(expect.objectContaining({ code: 'FILE_CORRUPT' }));
  });

  test('an operator set before 9', () => {
    const onnx = new GraphBuilder();
    onnx.output(onnx.op('Neg', [onnx.input('x', 'f32', ['b'])]), 'f32', ['b']);
    const bytes = encodeModel({ ...onnx.model(), opsetImport: [{ domain: '', version: 8 }] });
    expect(() => rewriteModel(bytes)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
  });
});
