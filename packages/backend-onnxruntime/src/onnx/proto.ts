import protobuf from 'protobufjs/minimal.js';

/**
 * Writes the subset of onnx.proto that graphs made here need. The wire format is written field by field (numbers
 * from onnx.proto) with the reflection-free writer: no code generation at run time, so it works under a strict
 * content security policy, and a model of a thousand nodes takes a millisecond.
 */
export type Attribute =
  | number
  | readonly number[]
  | string
  | { readonly float: number }
  | { readonly graph: GraphProto };

export interface NodeProto {
  readonly op: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: { readonly [name: string]: Attribute };
}

export interface ValueProto {
  readonly name: string;
  readonly type: number;
  readonly shape: readonly number[];
}

export interface InitializerProto {
  readonly name: string;
  readonly type: number;
  readonly dims: readonly number[];
  readonly raw: Uint8Array;
}

export interface GraphProto {
  readonly nodes: readonly NodeProto[];
  readonly initializers: readonly InitializerProto[];
  readonly inputs: readonly ValueProto[];
  readonly outputs: readonly ValueProto[];
  /** Shapes of inner values that shape inference cannot find (slices with starts known only at run time). */
  readonly values: readonly ValueProto[];
}

/** TensorProto.DataType. */
export const elementTypes = {
  f32: 1,
  i32: 6,
  i64: 7,
  bool: 9,
  f16: 10,
} as const;

/** Operator set 21 and IR 10: the oldest pair with every operator used here, read by ONNX Runtime 1.20 and later. */
const OPSET = 21;
const IR_VERSION = 10;
/** Operators of ONNX Runtime's own (FusedMatMul, MultiHeadAttention). */
const CONTRIB_DOMAIN = 'com.microsoft';

type Writer = protobuf.Writer;

const LENGTH_DELIMITED = 2;
const tag = (field: number, wireType: number): number => (field << 3) | wireType;

export function encodeModel(graph: GraphProto): Uint8Array {
  const writer = protobuf.Writer.create();
  writer.uint32(tag(1, 0)).int64(IR_VERSION);
  writer.uint32(tag(2, LENGTH_DELIMITED)).string('topk-attention');
  message(writer, 7, (inner) => writeGraph(inner, graph));
  writeOpset(writer, '', OPSET);
  writeOpset(writer, CONTRIB_DOMAIN, 1);
  return writer.finish();
}

function message(writer: Writer, field: number, body: (writer: Writer) => void): void {
  writer.uint32(tag(field, LENGTH_DELIMITED)).fork();
  body(writer);
  writer.ldelim();
}

function text(writer: Writer, field: number, value: string): void {
  writer.uint32(tag(field, LENGTH_DELIMITED)).string(value);
}

function writeOpset(writer: Writer, domain: string, version: number): void {
  message(writer, 8, (inner) => {
    text(inner, 1, domain);
    inner.uint32(tag(2, 0)).int64(version);
  });
}

function writeGraph(writer: Writer, graph: GraphProto): void {
  for (const node of graph.nodes) message(writer, 1, (inner) => writeNode(inner, node));
  text(writer, 2, 'graph');
  for (const one of graph.initializers) {
    message(writer, 5, (inner) => {
      for (const extent of one.dims) inner.uint32(tag(1, 0)).int64(extent);
      inner.uint32(tag(2, 0)).int32(one.type);
      text(inner, 8, one.name);
      inner.uint32(tag(9, LENGTH_DELIMITED)).bytes(one.raw);
    });
  }
  for (const value of graph.inputs) message(writer, 11, (inner) => writeValue(inner, value));
  for (const value of graph.outputs) message(writer, 12, (inner) => writeValue(inner, value));
  for (const value of graph.values) message(writer, 13, (inner) => writeValue(inner, value));
}

function writeNode(writer: Writer, node: NodeProto): void {
  for (const name of node.inputs) text(writer, 1, name);
  for (const name of node.outputs) text(writer, 2, name);
  text(writer, 4, node.op);
  for (const [name, value] of Object.entries(node.attributes)) {
    message(writer, 5, (inner) => writeAttribute(inner, name, value));
  }
  if (node.domain !== '') text(writer, 7, node.domain);
}

function writeAttribute(writer: Writer, name: string, value: Attribute): void {
  const type = (code: number): void => {
    writer.uint32(tag(20, 0)).int32(code);
  };
  text(writer, 1, name);
  if (typeof value === 'number') {
    writer.uint32(tag(3, 0)).int64(value);
    type(2);
  } else if (typeof value === 'string') {
    text(writer, 4, value);
    type(3);
  } else if ('float' in value) {
    writer.uint32(tag(2, 5)).float(value.float);
    type(1);
  } else if ('graph' in value) {
    message(writer, 6, (inner) => writeGraph(inner, value.graph));
    type(5);
  } else {
    for (const item of value) writer.uint32(tag(8, 0)).int64(item);
    type(7);
  }
}

function writeValue(writer: Writer, value: ValueProto): void {
  text(writer, 1, value.name);
  message(writer, 2, (typeProto) =>
    message(typeProto, 1, (tensor) => {
      tensor.uint32(tag(1, 0)).int32(value.type);
      message(tensor, 2, (shape) => {
        for (const extent of value.shape) {
          message(shape, 1, (dimension) => dimension.uint32(tag(1, 0)).int64(extent));
        }
      });
    }),
  );
}
