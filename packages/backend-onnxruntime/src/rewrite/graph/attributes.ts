import protobuf from 'protobufjs/minimal.js';
import type { AttributeProto, GraphProto, NodeProto, TensorProto } from '../../onnx/messages.js';

function find({ attribute }: NodeProto, name: string): AttributeProto | undefined {
  return attribute.find((one) => one.name === name);
}

export function intOf(node: NodeProto, name: string): number | undefined {
  const found = find(node, name);
  // A protobuf writer may leave out a zero.
  return found === undefined ? undefined : Number(found.i ?? 0n);
}

export function floatOf(node: NodeProto, name: string): number | undefined {
  const found = find(node, name);
  return found === undefined ? undefined : (found.f ?? 0);
}

export function intsOf(node: NodeProto, name: string): readonly number[] | undefined {
  const found = find(node, name);
  return found === undefined ? undefined : Array.from(found.ints ?? [], Number);
}

export function textOf(node: NodeProto, name: string): string | undefined {
  const bytes = find(node, name)?.s;
  return bytes === undefined ? undefined : protobuf.util.utf8.read(bytes, 0, bytes.length);
}

export function tensorOf(node: NodeProto, name: string): TensorProto | undefined {
  return find(node, name)?.t;
}

export function graphOf(node: NodeProto, name: string): GraphProto | undefined {
  return find(node, name)?.g;
}

/** The operator with its domain, as in `MatMul` or `com.microsoft.FusedMatMul`. */
export function operatorOf({ opType = '', domain = '' }: NodeProto): string {
  return domain === '' || domain === 'ai.onnx' ? opType : `${domain}.${opType}`;
}
