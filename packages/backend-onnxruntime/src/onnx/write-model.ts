import protobuf from 'protobufjs/minimal.js';
import { type Field, fieldsOf, type MessageFormat, modelFormat, type Scalar, wireTypeOf } from './format.js';
import type { Message, ModelProto } from './messages.js';

type Writer = protobuf.Writer;

/** The bytes of a model, as in a file. */
export function encodeModel(model: ModelProto): Uint8Array {
  const writer = protobuf.Writer.create();
  writeMessage(writer, model, modelFormat);
  return writer.finish();
}

function writeMessage(writer: Writer, message: Message, format: MessageFormat): void {
  const values = message as { readonly [name: string]: unknown };
  for (const field of fieldsOf(format).values()) {
    const value = values[field.name];
    if (value === undefined) continue;
    if (field.form === 'one') writeField(writer, field, value);
    else if (field.form === 'packed') writePacked(writer, field, value as Iterable<unknown>);
    else for (const item of value as Iterable<unknown>) writeField(writer, field, item);
  }
  if (message.unknownFields !== undefined) writer.raw(message.unknownFields);
}

function writeField(writer: Writer, { number, kind }: Field, value: unknown): void {
  writer.uint32((number << 3) | wireTypeOf(kind));
  if (typeof kind !== 'function') {
    writeScalar(writer, kind, value);
    return;
  }
  writer.fork();
  writeMessage(writer, value as Message, kind());
  writer.ldelim();
}

function writePacked(writer: Writer, { number, kind }: Field, values: Iterable<unknown>): void {
  writer.uint32((number << 3) | 2).fork();
  for (const value of values) writeScalar(writer, kind as Scalar, value);
  writer.ldelim();
}

function writeScalar(writer: Writer, kind: Scalar, value: unknown): void {
  switch (kind) {
    case 'string':
      writer.string(value as string);
      break;
    case 'bytes':
      writer.bytes(value as Uint8Array);
      break;
    case 'int32':
      writer.int32(value as number);
      break;
    case 'integer':
      writer.int64(value as number);
      break;
    case 'int64':
    case 'uint64':
      writeWide(writer, value as bigint);
      break;
    case 'float':
      writer.float(value as number);
      break;
    case 'double':
      writer.double(value as number);
      break;
    default:
      kind satisfies never;
  }
}

/** protobufjs takes 64 bits as a number; values that a number cannot represent are written byte by byte. */
function writeWide(writer: Writer, value: bigint): void {
  const near = Number(value);
  if (Number.isSafeInteger(near)) {
    writer.int64(near);
    return;
  }
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  writer.raw(Uint8Array.of(...bytes, Number(rest)));
}
