import protobuf from 'protobufjs/minimal.js';
import type { AttributeProto, GraphProto, NodeProto, TensorProto } from './messages.js';

/** AttributeProto.AttributeType. */
const attributeTypes = {
  float: 1,
  int: 2,
  string: 3,
  tensor: 4,
  graph: 5,
  floats: 6,
  ints: 7,
  strings: 8,
  tensors: 9,
  graphs: 10,
  sparseTensor: 11,
  sparseTensors: 12,
  typeProto: 13,
  typeProtos: 14,
} as const;

/** Attributes of graphs made here: whole numbers, lists of them, strings, floats, tensors, graphs. */
export type Attribute =
  | number
  | readonly number[]
  | string
  | { readonly float: number }
  | { readonly tensor: TensorProto }
  | { readonly graph: GraphProto };

export type Attributes = { readonly [name: string]: Attribute };

export function attributeOf(name: string, value: Attribute): AttributeProto {
  if (typeof value === 'number') return { name, i: BigInt(value), type: attributeTypes.int };
  if (typeof value === 'string') {
    return { name, s: utf8Of(value), type: attributeTypes.string };
  }
  if ('float' in value) return { name, f: value.float, type: attributeTypes.float };
  if ('tensor' in value) return { name, t: value.tensor, type: attributeTypes.tensor };
  if ('graph' in value) return { name, g: value.graph, type: attributeTypes.graph };
  return { name, ints: BigInt64Array.from(value, BigInt), type: attributeTypes.ints };
}

/** Avoids TextEncoder, which some browser-like test environments lack. */
function utf8Of(text: string): Uint8Array {
  const { utf8 } = protobuf.util;
  const bytes = new Uint8Array(utf8.length(text));
  utf8.write(text, bytes, 0);
  return bytes;
}

/** Graphs inside a node: branches, loop bodies. */
export function subgraphsOf({ attribute }: NodeProto): readonly GraphProto[] {
  return attribute.flatMap(({ g, graphs = [] }) => (g === undefined ? graphs : [g, ...graphs]));
}
