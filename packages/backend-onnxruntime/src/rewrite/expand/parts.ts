import { dataTypes } from '../../onnx/data-types.js';
import type { NodeProto } from '../../onnx/messages.js';
import type { NodeWriter } from '../build/node-writer.js';
import type { Axes, Lengths } from '../extents/lengths.js';
import { nameOf, Refused } from '../find/block.js';
import { operatorOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';

/** An operator for a whole block, and what it takes to write it as plain nodes. */
export interface Fused {
  readonly node: NodeProto;
  readonly index: GraphIndex;
  readonly lengths: Lengths;
  readonly writer: NodeWriter;
}

/** @throws Refused for options that are not plain. */
export type Expand = (fused: Fused) => void;

export function refused({ node }: Fused, what: string): Refused {
  return new Refused('fused-operator', `${operatorOf(node)} ${nameOf(node)} has ${what}`);
}

export function axesOf({ index, lengths }: Fused, name: string): Axes {
  const axes = lengths.axes(index.graph, name);
  if (axes !== undefined) return axes;
  throw new Refused('unknown-extents', lengths.first.reason(index.graph, name));
}

/** The element type of the queries, in which all is computed. */
export function typeOf(fused: Fused): number {
  const { type } = axesOf(fused, fused.node.input[0] as string);
  if (type === dataTypes.float || type === dataTypes.float16) return type;
  const reason = `${operatorOf(fused.node)} ${nameOf(fused.node)} has element type ${type}, not float32 or float16`;
  throw new Refused('element-type', reason);
}

/** A number of an element type. */
export function number({ writer }: Fused, value: number, type: number): string {
  const single = writer.f32(value);
  return type === dataTypes.float ? single : writer.op('Cast', [single], { to: type });
}

/** From [B, L, heads * d] to [B, heads, L, d]. */
export function toHeads({ writer }: Fused, value: string, heads: number): string {
  const split = writer.op('Reshape', [value, writer.i64([0, 0, heads, -1])]);
  return writer.op('Transpose', [split], { perm: [0, 2, 1, 3] });
}

/** From [B, heads, L, d] to [B, L, heads * d], under the name of the operator's output. */
export function fromHeads({ writer, node }: Fused, value: string): void {
  const turned = writer.op('Transpose', [value], { perm: [0, 2, 1, 3] });
  writer.opInto(node.output.slice(0, 1), 'Reshape', [turned, writer.i64([0, 0, -1])]);
}

/** [B, heads, L, d] with every head `times` times. */
export function repeated({ writer }: Fused, value: string, heads: number, times: number): string {
  if (times === 1) return value;
  const shape = writer.op('Shape', [value]);
  const [batch, rest] = [writer.pick(shape, [0]), writer.pick(shape, [2, 3])];
  const open = writer.unsqueeze(value, 2);
  const all = writer.op('Expand', [open, writer.concat([batch, writer.i64([heads, times]), rest])]);
  return writer.op('Reshape', [all, writer.concat([batch, writer.i64([heads * times]), rest])]);
}

/** Keys or values of a past and those of the input, under the name of an output where the operator returns them. */
export function withPast({ writer }: Fused, past: string, value: string, output = ''): string {
  if (past === '') {
    if (output !== '') writer.opInto([output], 'Identity', [value]);
    return value;
  }
  const name = output || writer.name();
  writer.opInto([name], 'Concat', [past, value], { axis: 2 });
  return name;
}

/** 0 to the length of an axis, as [length, 1] or [1, length]. */
export function places({ writer }: Fused, value: string, axis: number, isRow: boolean): string {
  return writer.unsqueeze(writer.range(writer.extent(value, axis)), isRow ? 1 : 0);
}

/** Truth values [L, keys]: a query sees the keys up to its own place, which comes after those of a past. */
export function causal(fused: Fused, queries: string, keys: string, pastLength?: string): string {
  const { writer } = fused;
  const rows = places(fused, queries, 2, true);
  const shifted = pastLength === undefined ? rows : writer.op('Add', [rows, pastLength]);
  return writer.op('Not', [writer.op('Greater', [places(fused, keys, 2, false), shifted])]);
}

/**
 * softmax(q kt * scale + biases) v for [B, heads, L, d].
 *
 * @param output The name of the result; a new one by default.
 */
export function emitBlock(
  fused: Fused,
  { q, k, v }: { readonly q: string; readonly k: string; readonly v: string },
  scale: string,
  biases: readonly string[],
  output?: string,
): string {
  const { writer } = fused;
  const scaled = writer.op('Mul', [q, scale]);
  let scores = writer.op('MatMul', [scaled, writer.op('Transpose', [k], { perm: [0, 1, 3, 2] })]);
  for (const bias of biases) scores = writer.op('Add', [scores, bias]);
  const weights = writer.op('Softmax', [scores], { axis: -1 });
  const name = output ?? writer.name();
  writer.opInto([name], 'MatMul', [weights, v]);
  return name;
}
