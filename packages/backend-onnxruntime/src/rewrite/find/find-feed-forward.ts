import type { NodeProto } from '../../onnx/messages.js';
import { isPointwise } from '../extents/elementwise.js';
import { axisOf } from '../extents/known.js';
import { type Axes, isOne, type Lengths, lengthAt } from '../extents/lengths.js';
import { intOf, operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';

/** A feed-forward layer: products with weights, an activation of them, and the product that follows. */
export interface FeedForwardBlock {
  readonly index: GraphIndex;
  /** [..., width]: what the first products take. */
  readonly input: string;
  /** One product, or two where one gates the other. */
  readonly first: readonly NodeProto[];
  /** Nodes between the products, in order. A Reshape leaves the last axis as it is; a Split or Slice cuts the last alone. */
  readonly between: readonly NodeProto[];
  readonly second: NodeProto;
  /** Nodes that ask for the shape of a value between the products. */
  readonly shapes: readonly NodeProto[];
  readonly hidden: number;
  /** The width of what a first product gives: more than the middle where its parts gate each other. */
  readonly widest: number;
  /** Whether the second product gives [tokens, width], and not the leading axes of the input. */
  readonly isFlat: boolean;
  readonly type: number;
}

/** The feed-forward layer that ends in a product, or undefined if the node is something else. */
export function findFeedForward(
  index: GraphIndex,
  second: NodeProto,
  lengths: Lengths,
): FeedForwardBlock | undefined {
  if (!isWeightProduct(second, index)) return undefined;
  const axesOf = (name: string): Axes | undefined => lengths.axes(index.graph, name);
  const first = new Set<NodeProto>();
  const between = new Set<NodeProto>();
  const names = [second.input[0] as string];
  for (let name = names.pop(); name !== undefined; name = names.pop()) {
    const node = index.producer(name);
    if (node === undefined || !index.graph.node.includes(node) || index.isOutput(name)) return undefined;
    if (between.has(node) || first.has(node)) continue;
    if (isWeightProduct(node, index)) {
      first.add(node);
      continue;
    }
    const inputs = stepInputs(node, index, lengths);
    if (inputs === undefined) return undefined;
    between.add(node);
    for (const input of inputs) names.push(input);
  }
  const products = [...first];
  const [input, ...others] = new Set(products.map((node) => rowsOf(node, index)));
  const made = axesOf(second.output[0] as string);
  const before = input === undefined ? undefined : axesOf(input);
  const hidden = axesOf(second.input[0] as string)?.dims.at(-1);
  if (input === undefined || others.length > 0 || !made || !before || hidden === undefined) return undefined;
  // Without an activation it is no feed-forward layer, and without a wide middle there is nothing to gain.
  const isActivated = [...between].some(
    (node) => !['Add', 'Reshape', 'Identity', 'Cast', 'Split', 'Slice'].includes(node.opType ?? ''),
  );
  if (!isActivated || hidden <= (before.dims.at(-1) as number)) return undefined;
  const inside = new Set([...between, second]);
  const outputs = [...products, ...between].flatMap(({ output }) => output);
  if (outputs.some((name) => index.isOutput(name))) return undefined;
  const users = outputs.flatMap((name) => index.users(name)).filter((user) => !inside.has(user));
  const shapes = [...new Set(users)];
  // The rewritten layer has no such value, but its shape is that of the input, with another width.
  const isClosed = shapes.every(
    (user) => user.opType === 'Shape' && hasLeadOf(before, axesOf(user.input[0] as string)),
  );
  const isFlat = made.dims.length === 2;
  if (!isClosed || !(isFlat || hasLeadOf(before, made))) return undefined;
  const widths = products.map(({ output }) => axesOf(output[0] as string)?.dims.at(-1) ?? hidden);
  const order = index.graph.node;
  return {
    ...{ index, input, second, shapes, hidden, isFlat },
    widest: Math.max(...widths),
    first: order.filter((node) => first.has(node)),
    between: order.filter((node) => between.has(node)),
    type: made.type,
  };
}

/** Whether two values have the same axes but for the last. */
function hasLeadOf({ dims, again }: Axes, other: Axes | undefined): boolean {
  if (other === undefined) return false;
  const isSame = (a: readonly number[], b: readonly number[]): boolean =>
    `${a.slice(0, -1)}` === `${b.slice(0, -1)}`;
  return dims.length === other.dims.length && isSame(dims, other.dims) && isSame(again, other.again);
}

/** A product of computed rows with a matrix of the file. */
function isWeightProduct(node: NodeProto, index: GraphIndex): boolean {
  const [rows = '', weight = '', added = ''] = node.input;
  const operator = operatorOf(node);
  if (operator !== 'MatMul' && operator !== 'Gemm') return false;
  if (operator === 'Gemm' && (intOf(node, 'transA') === 1 || (added !== '' && !index.isConstant(added))))
    return false;
  return !index.isWeight(rows) && index.isWeight(weight);
}

/** What a product's rows are made of, before a reshape to two axes. */
function rowsOf(node: NodeProto, index: GraphIndex): string {
  const name = node.input[0] as string;
  const before = index.producer(name);
  return node.opType === 'Gemm' && before?.opType === 'Reshape' ? (before.input[0] as string) : name;
}

/** The computed inputs of a node between the products; undefined if it may mix tokens or treat them differently. */
function stepInputs(node: NodeProto, index: GraphIndex, lengths: Lengths): readonly string[] | undefined {
  const axesOf = (name: string): Axes | undefined => lengths.axes(index.graph, name);
  if (node.opType === 'Reshape') {
    const [from, to] = [axesOf(node.input[0] as string), axesOf(node.output[0] as string)];
    const keepsLast =
      from && to && from.dims.at(-1) === to.dims.at(-1) && from.again.at(-1) === to.again.at(-1);
    return keepsLast ? [node.input[0] as string] : undefined;
  }
  if (node.opType === 'Split' || node.opType === 'Slice') {
    return cutsOf(node, index, lengths) === undefined ? undefined : node.input.slice(0, 1);
  }
  if (!isPointwise(operatorOf(node))) return undefined;
  const computed = node.input.filter((name) => name !== '' && !index.isConstant(name));
  const isForAllTokens = node.input.every((name) => {
    if (name === '' || !index.isConstant(name)) return true;
    const axes = axesOf(name);
    return axes?.dims.every(
      (_, axis) => axis === axes.dims.length - 1 || isOne(lengthAt(axes, axes.dims.length - 1 - axis)),
    );
  });
  return isForAllTokens && computed.length > 0 ? computed : undefined;
}

/** From where to where a Split or Slice cuts the last axis for each of its outputs; undefined if it does something else. */
export function cutsOf(
  node: NodeProto,
  { graph }: GraphIndex,
  lengths: Lengths,
): readonly (readonly [start: number, end: number])[] | undefined {
  const [input = '', starts = '', ends = '', axes = '', steps = ''] = node.input;
  const dims = lengths.axes(graph, input)?.dims;
  const width = dims?.at(-1);
  if (dims === undefined || width === undefined) return undefined;
  if (node.opType === 'Split') {
    if (axisOf(intOf(node, 'axis') ?? 0, dims.length) !== dims.length - 1) return undefined;
    const widths = node.output.map((name) => lengths.axes(graph, name)?.dims.at(-1));
    const ends: number[] = [];
    for (const one of widths) {
      if (one === undefined) return undefined;
      ends.push((ends.at(-1) ?? 0) + one);
    }
    return ends.map((end, place) => [ends[place - 1] ?? 0, end]);
  }
  const [from, to, at, by] = [starts, ends, axes, steps].map((name) => lengths.fixedValues(graph, name));
  if (from?.length !== 1 || to?.length !== 1 || at?.length !== 1) return undefined;
  if (axisOf(at[0] as number, dims.length) !== dims.length - 1 || (steps !== '' && by?.[0] !== 1))
    return undefined;
  const place = (value: number): number => Math.min(Math.max(value < 0 ? value + width : value, 0), width);
  return [[place(from[0] as number), place(to[0] as number)]];
}
