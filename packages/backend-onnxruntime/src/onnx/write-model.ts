import protobuf from 'protobufjs/minimal.js';
import { type Field, fieldsOf, type MessageFormat, modelFormat, type Scalar, wireTypeOf } from './format.js';
import type { LazyBytes } from './lazy-bytes.js';
import type { Message, ModelProto, TensorProto } from './messages.js';

type Writer = protobuf.Writer;

/** The bytes of a model, as in a file. */
export function encodeModel(model: ModelProto): Uint8Array {
  const { parts, length } = encodeParts(model);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** Bytes in parts, one after the other. */
export interface Parts<Lazy = never> {
  readonly parts: readonly (Uint8Array | Lazy)[];
  readonly length: number;
}

/** The bytes of a model without a copy of its weights: parts of them are the model's own. */
export function encodeParts(model: ModelProto): Parts {
  return partsOf(model, modelFormat, new Map<object, never>());
}

/** The same where raw values of some tensors are read only when the file is written. */
export function encodeLazy(
  model: ModelProto,
  rawData: ReadonlyMap<TensorProto, LazyBytes>,
): Parts<LazyBytes> {
  return partsOf(model, modelFormat, rawData);
}

/** Shorter bytes are copied: a part of its own would take more. */
const SHORT = 2 ** 12;

type LazyValues<Lazy> = ReadonlyMap<object, Lazy>;

function partsOf<Lazy extends LazyBytes>(
  message: Message,
  format: MessageFormat,
  lazy: LazyValues<Lazy>,
): Parts<Lazy> {
  const values = message as { readonly [name: string]: unknown };
  const rawData = lazy.get(message);
  const joined = new JoinedParts<Lazy>();
  for (const field of fieldsOf(format).values()) {
    if (rawData !== undefined && field.name === 'rawData') {
      joined.writer.uint32(tagOf(field));
      joined.add({ parts: [rawData], length: rawData.byteLength });
      continue;
    }
    const value = values[field.name];
    if (value === undefined) continue;
    if (field.form === 'one') writeField(joined, field, value, lazy);
    else if (field.form === 'packed') writePacked(joined.writer, field, value as Iterable<unknown>);
    else for (const item of value as Iterable<unknown>) writeField(joined, field, item, lazy);
  }
  if (message.unknownFields !== undefined) joined.writer.raw(message.unknownFields);
  return joined.finish();
}

/** What a writer has written, and long or lazy bytes in between as they are. */
class JoinedParts<Lazy extends LazyBytes> {
  writer: Writer = protobuf.Writer.create();
  readonly #parts: (Uint8Array | Lazy)[] = [];
  #length = 0;

  /** Bytes with their length before them. */
  add({ parts, length }: Parts<Lazy>): void {
    this.writer.uint32(length);
    const ready = parts.filter((part): part is Uint8Array => !('read' in part));
    if (length < SHORT && ready.length === parts.length) {
      for (const part of ready) this.writer.raw(part);
      return;
    }
    this.#flush();
    for (const part of parts) this.#parts.push(part);
    this.#length += length;
  }

  finish(): Parts<Lazy> {
    this.#flush();
    return { parts: this.#parts, length: this.#length };
  }

  #flush(): void {
    const bytes = this.writer.finish();
    if (bytes.length === 0) return;
    this.#parts.push(bytes);
    this.#length += bytes.length;
    this.writer = protobuf.Writer.create();
  }
}

function tagOf({ number, kind }: Field): number {
  return (number << 3) | wireTypeOf(kind);
}

function writeField<Lazy extends LazyBytes>(
  joined: JoinedParts<Lazy>,
  field: Field,
  value: unknown,
  lazy: LazyValues<Lazy>,
): void {
  const { kind } = field;
  joined.writer.uint32(tagOf(field));
  if (typeof kind === 'function') joined.add(partsOf(value as Message, kind(), lazy));
  else if (kind === 'bytes') {
    const bytes = value as Uint8Array;
    joined.add({ parts: [bytes], length: bytes.length });
  } else writeScalar(joined.writer, kind, value);
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
