import { TopKError } from '@topk-attention/core';
import protobuf from 'protobufjs/minimal.js';
import {
  fieldsOf,
  type MessageFormat,
  modelFormat,
  type NamedField,
  type Scalar,
  wireTypeOf,
} from './format.js';
import type { ModelProto } from './messages.js';

type Reader = protobuf.Reader;
type Values = { [name: string]: unknown };

/** Nesting levels of messages: as many as other protobuf readers allow. A graph in a graph takes four. */
const MOST_LEVELS = 100;

/**
 * Reads a model from the bytes of a file. Values of tensors are views of those bytes, so the file is not copied;
 * everything else takes memory in proportion to the file. Does not check whether the graph makes sense.
 *
 * @param source A name for the bytes in error messages, such as a file's name.
 * @throws TopKError FILE_TRUNCATED when the file ends too early; FILE_CORRUPT when it is not an ONNX model.
 */
export function decodeModel(bytes: Uint8Array, source = 'model'): ModelProto {
  // For a Buffer, protobufjs would choose another reader.
  const plain = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const model = readMessage(plain, modelFormat, 0) as ModelProto;
    if (model.graph === undefined) throw new SyntaxError('it has no graph');
    return model;
  } catch (cause) {
    const got = cause instanceof Error ? cause.message : String(cause);
    const isShort = cause instanceof RangeError;
    throw new TopKError(
      isShort ? 'FILE_TRUNCATED' : 'FILE_CORRUPT',
      `${source}: ${isShort ? 'the file ends too early' : 'not an ONNX model'}`,
      { expected: 'a ModelProto of onnx.proto', got, fix: 'Download or export the file again', cause },
    );
  }
}

/** Throws a RangeError if the bytes end too early for the message, another error if its content is wrong. */
function readMessage(bytes: Uint8Array, format: MessageFormat, level: number): object {
  if (level > MOST_LEVELS) throw new SyntaxError(`messages are nested more than ${MOST_LEVELS} deep`);
  const fields = fieldsOf(format);
  const values: Values = {};
  for (const { name, isAlways } of fields.values()) if (isAlways) values[name] = [];
  const reader = protobuf.Reader.create(bytes);
  const unknown = new Runs();
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const tag = reader.tag();
    const field = fields.get(tag >>> 3);
    if (field !== undefined && readField(reader, field, tag & 7, values, level)) continue;
    reader.skipType(tag & 7, 0, tag >>> 3);
    unknown.add(start, reader.pos);
  }
  for (const { name, kind, form } of fields.values()) {
    const list = values[name];
    if (list !== undefined && (form === 'array' || form === 'packed')) {
      values[name] = typedArray(kind as Scalar, list);
    }
  }
  if (unknown.bytes > 0) values.unknownFields = unknown.join(bytes);
  return values;
}

/** Reads one field into the values, unless its encoding is not one that its kind has. */
function readField(
  reader: Reader,
  { name, kind, form }: NamedField,
  wireType: number,
  values: Values,
  level: number,
): boolean {
  const isPacked = wireType === 2 && typeof kind !== 'function' && form !== 'one' && wireTypeOf(kind) !== 2;
  if (!isPacked && wireType !== wireTypeOf(kind)) return false;
  const list = (values[name] ?? []) as unknown[];
  if (isPacked) {
    const inner = protobuf.Reader.create(reader.bytes());
    inside(() => {
      while (inner.pos < inner.len) list.push(readScalar(inner, kind));
    });
  } else {
    const value =
      typeof kind === 'function' ? readInner(reader.bytes(), kind(), level + 1) : readScalar(reader, kind);
    if (form === 'one') {
      values[name] = value;
      return true;
    }
    list.push(value);
  }
  values[name] = list;
  return true;
}

function readInner(bytes: Uint8Array, format: MessageFormat, level: number): object {
  return inside(() => readMessage(bytes, format, level));
}

/** A message inside another has a known length, so one that ends too early is wrong, not truncated. */
function inside<R>(read: () => R): R {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new SyntaxError('a field is longer than the message that it is in', { cause: error });
  }
}

function readScalar(reader: Reader, kind: Scalar): unknown {
  switch (kind) {
    case 'string':
      return reader.stringVerify();
    case 'bytes':
      return reader.bytes();
    case 'int32':
      return reader.int32();
    case 'integer':
      return integerOf(wideOf(reader));
    case 'int64':
      return wideOf(reader);
    case 'uint64':
      return BigInt.asUintN(64, wideOf(reader));
    case 'float':
      return reader.float();
    case 'double':
      return reader.double();
    default:
      return kind satisfies never;
  }
}

/** protobufjs returns 64 bits as a rounded number, so the bytes are assembled here. */
function wideOf(reader: Reader): bigint {
  const start = reader.pos;
  reader.skip();
  const bytes = reader.raw(start, reader.pos);
  if (bytes.length > 10) throw new SyntaxError('a number has more than 64 bits');
  let wide = 0n;
  for (let at = bytes.length - 1; at >= 0; at--) wide = (wide << 7n) | BigInt((bytes[at] as number) & 127);
  return BigInt.asIntN(64, wide);
}

function integerOf(wide: bigint): number {
  const value = Number(wide);
  if (!Number.isSafeInteger(value)) throw new SyntaxError(`${wide} as an extent or version`);
  return value;
}

function typedArray(kind: Scalar, list: unknown): ArrayBufferView {
  switch (kind) {
    case 'int32':
      return Int32Array.from(list as number[]);
    case 'float':
      return Float32Array.from(list as number[]);
    case 'double':
      return Float64Array.from(list as number[]);
    case 'uint64':
      return BigUint64Array.from(list as bigint[]);
    default:
      return BigInt64Array.from(list as bigint[]);
  }
}

/** Parts of a message's bytes; adjacent parts are merged. */
class Runs {
  readonly #ends: number[] = [];
  bytes = 0;

  add(start: number, end: number): void {
    if (this.#ends.at(-1) === start) this.#ends.pop();
    else this.#ends.push(start);
    this.#ends.push(end);
    this.bytes += end - start;
  }

  /** A contiguous copy of all of them. */
  join(message: Uint8Array): Uint8Array {
    const joined = new Uint8Array(this.bytes);
    let at = 0;
    for (let run = 0; run < this.#ends.length; run += 2) {
      const part = message.subarray(this.#ends[run], this.#ends[run + 1]);
      joined.set(part, at);
      at += part.length;
    }
    return joined;
  }
}
