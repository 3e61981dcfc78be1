import { describe, expect, test } from 'vitest';
import { type Attribute, attributeOf } from '../../src/onnx/attributes.js';
import { dataTypes, type ElementType, elementTypes } from '../../src/onnx/data-types.js';
import { type Dims, shapeOf } from '../../src/onnx/dims.js';
import type { GraphProto, NodeProto, TensorProto, ValueInfoProto } from '../../src/onnx/messages.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { type RewriteReport, rewriteModel } from '../../src/rewrite/index.js';

// Files that no exporter writes, small enough to be sent by anyone: they end in a report or a typed error, and soon.

const node = (
  opType: string,
  input: readonly string[],
  output: string,
  attributes: { readonly [name: string]: Attribute } = {},
): NodeProto => ({
  ...{ opType, input, output: [output] },
  attribute: Object.entries(attributes).map(([name, value]) => attributeOf(name, value)),
});

const value = (name: string, dims: Dims, type: ElementType = 'f32'): ValueInfoProto => ({
  name,
  type: { tensorType: { elemType: elementTypes[type], shape: shapeOf(dims) } },
});

const list = (name: string, values: readonly number[], dims = [values.length]): TensorProto => ({
  ...{ name, dims, dataType: dataTypes.int64 },
  rawData: new Uint8Array(BigInt64Array.from(values, BigInt).buffer),
});

const graphOf = (
  nodes: readonly NodeProto[],
  output: string,
  inputs: readonly ValueInfoProto[] = [],
  initializer: readonly TensorProto[] = [],
): GraphProto => ({
  ...{ name: 'graph', node: nodes, input: inputs, initializer, valueInfo: [] },
  output: [value(output, ['b', 2, 'l', 4])],
});

const states = [
  value('q', ['b', 2, 'l', 4]),
  value('k', ['b', 2, 4, 's']),
  value('v', ['b', 2, 's', 4]),
  value('mask', ['b', 1, 'l', 's']),
];

const rewrite = (graph: GraphProto): RewriteReport =>
  rewriteModel(encodeModel({ irVersion: 8, opsetImport: [{ domain: '', version: 17 }], graph })).report;

/** A block whose scores come from the product `scores`, by these nodes, as `last`. */
const blockOf = (
  steps: readonly NodeProto[],
  last: string,
  initializer: readonly TensorProto[] = [],
): GraphProto =>
  graphOf(
    [
      node('MatMul', ['q', 'k'], 'scores'),
      ...steps,
      node('Softmax', [last], 'weights', { axis: -1 }),
      node('MatMul', ['weights', 'v'], 'y'),
    ],
    'y',
    states,
    initializer,
  );

const chain = (first: string, name: string, length: number): readonly NodeProto[] =>
  Array.from({ length }, (_, at) => node('Neg', [at === 0 ? first : `${name}${at}`], `${name}${at + 1}`));

describe('circles', () => {
  const corrupt = expect.objectContaining({ code: 'FILE_CORRUPT' });

  test('through an input that is made again', () => {
    const steps = [node('Add', ['scores', 'mask'], 'a'), node('Add', ['a', 'scores'], 'mask')];
    expect(() => rewrite(blockOf(steps, 'a'))).toThrow(corrupt);
  });

  test('through a value of the outer graph that a branch makes again', () => {
    const branch = graphOf([node('Identity', ['a'], 'a')], 'a');
    const branches = { then_branch: { graph: branch }, else_branch: { graph: branch } };
    const steps = [node('Abs', ['scores'], 'a'), node('If', ['mask'], 'chosen', branches)];
    expect(() => rewrite(blockOf(steps, 'chosen'))).toThrow(corrupt);
  });
});

describe('long ways', () => {
  test('20,000 nodes between the scores and the softmax', () => {
    const { blocks } = rewrite(blockOf(chain('scores', 'x', 20_000), 'x20000'));
    expect(blocks).toMatchObject([{ result: 'exact' }]);
  });

  test('20,000 nodes that make a mask: what stays whole is said, at the extents of the report', () => {
    const mask = chain('mask', 'm', 20_000);
    const { blocks, left } = rewrite(blockOf([...mask, node('Add', ['scores', 'm20000'], 'x')], 'x'));
    expect(blocks).toMatchObject([{ result: 'exact' }]);
    expect(left.length).toBeGreaterThan(10_000);
    expect(left[0]).toEqual({ name: 'm1', operator: 'Neg', dims: [1024, 1, 1024, 1024] });
  });

  test('20,000 nodes that hand on a weight', () => {
    const ones = Array.from({ length: 20_000 }, (_, at) => node('Identity', [`w${at}`], `w${at + 1}`));
    const steps = [...ones, node('MatMul', ['q', 'w20000'], 'x')];
    expect(rewrite(blockOf(steps, 'x', [list('w0', [0, 0, 0, 0], [4, 1])])).blocks).toEqual([]);
  });

  test('2 to the power of 60 ways from the scores to the softmax', () => {
    const steps = Array.from({ length: 60 }, (_, at) => {
      const from = at === 0 ? 'scores' : `x${at}`;
      return [node('Neg', [from], `n${at}`), node('Add', [from, `n${at}`], `x${at + 1}`)];
    });
    expect(rewrite(blockOf(steps.flat(), 'x60')).blocks).toMatchObject([{ code: 'ambiguous' }]);
  });

  test('200,000 operands', () => {
    expect(rewrite(blockOf([node('Sum', Array(200_000).fill('scores'), 'x')], 'x')).blocks).toHaveLength(1);
  });
});

describe('values that outgrow the file', () => {
  const short = list(
    'c0',
    Array.from({ length: 4096 }, (_, at) => at),
  );
  const doubled = (make: (from: string, to: string) => NodeProto): readonly NodeProto[] =>
    Array.from({ length: 50 }, (_, at) => make(`c${at}`, `c${at + 1}`));
  const end = node('Neg', ['q'], 'y');

  test.each<readonly [string, readonly NodeProto[], readonly TensorProto[]]>([
    ['lists', doubled((from, to) => node('Concat', [from, from], to, { axis: 0 })), [short]],
    [
      'axes',
      doubled((from, to) => node('Gather', [from, from], to, { axis: 0 })),
      [list('c0', [0, 0], [1, 2])],
    ],
    ['axes of a transpose', [node('Transpose', ['c0'], 'c1', { perm: [0, 0, 0, 0] })], [short]],
    [
      'a slice without steps',
      [node('Slice', ['c0', 'zero', 'five', 'zero', 'zero'], 'c1')],
      [short, list('zero', [0]), list('five', [5])],
    ],
    [
      'a slice of nothing',
      [node('Slice', ['c0', 'zero', 'five'], 'c1')],
      [list('c0', [], [0, 2 ** 40]), list('zero', [0]), list('five', [5])],
    ],
    ['text', [node('Einsum', ['q'], 'c1', { equation: 'a'.repeat(300_000) })], []],
  ])('%s', (_, nodes, constants) => {
    expect(rewrite(graphOf([...nodes, end], 'y', states, constants)).blocks).toEqual([]);
  });

  test('names that begin as those of new values would', () => {
    const nodes = Array.from({ length: 40_000 }, (_, at) =>
      node('Neg', ['q'], `topk${at === 0 ? '' : at}/x`),
    );
    expect(rewrite(graphOf([...nodes, end], 'y', states)).blocks).toEqual([]);
  });
});
