import type * as onnx from './messages.js';

/*
 * How messages are encoded in a file: the number and kind of every field, from onnx.proto. Reader and writer follow
 * these tables, without code generated at run time, so that they work under a strict content security policy.
 */

/** Kinds of scalars. An `integer` is an int64 that JavaScript holds as a number: extents and versions. */
interface Scalars {
  readonly string: string;
  readonly bytes: Uint8Array;
  readonly int32: number;
  readonly integer: number;
  readonly int64: bigint;
  readonly uint64: bigint;
  readonly float: number;
  readonly double: number;
}

/** Typed arrays of the lists of numbers. */
interface Arrays {
  readonly int32: Int32Array;
  readonly int64: BigInt64Array;
  readonly uint64: BigUint64Array;
  readonly float: Float32Array;
  readonly double: Float64Array;
}

export type Scalar = keyof Scalars;

/** Wire types: a varint, 8 bytes, length-prefixed bytes, 4 bytes. */
const wireTypes: { readonly [kind in Scalar]: number } = {
  string: 2,
  bytes: 2,
  int32: 0,
  integer: 0,
  int64: 0,
  uint64: 0,
  float: 5,
  double: 1,
};

/** The wire type of one value: a message is length-prefixed bytes. */
export function wireTypeOf(kind: Field['kind']): number {
  return typeof kind === 'function' ? 2 : wireTypes[kind];
}

export interface Field<Value = unknown> {
  readonly number: number;
  readonly kind: keyof Scalars | (() => MessageFormat);
  /** One value; a list; or a list of numbers as a typed array, `packed` behind one tag or with a tag per number. */
  readonly form: 'one' | 'list' | 'array' | 'packed';
  /** True for lists that are present even if nothing was written. */
  readonly isAlways: boolean;
  /** Never set: carries the value's type. */
  readonly value?: Value;
}

/** Fields by name. */
export type MessageFormat = { readonly [name: string]: Field };

export interface NamedField extends Field {
  readonly name: string;
}

const known = new WeakMap<MessageFormat, ReadonlyMap<number, NamedField>>();

/** Fields of a message by number, in the order in which they are written. */
export function fieldsOf(format: MessageFormat): ReadonlyMap<number, NamedField> {
  let fields = known.get(format);
  if (fields === undefined) {
    fields = new Map(Object.entries(format).map(([name, field]) => [field.number, { ...field, name }]));
    known.set(format, fields);
  }
  return fields;
}

type Format<M> = {
  readonly [name in Exclude<keyof M, 'unknownFields'>]-?: Field<NonNullable<M[name]>>;
};

function one<K extends keyof Scalars>(number: number, kind: K): Field<Scalars[K]> {
  return { number, kind, form: 'one', isAlways: false };
}

/** A list that may be absent. */
function list<K extends keyof Scalars>(number: number, kind: K): Field<readonly Scalars[K][]> {
  return { number, kind, form: 'list', isAlways: false };
}

function array<K extends keyof Arrays>(number: number, kind: K): Field<Arrays[K]> {
  return { number, kind, form: 'array', isAlways: false };
}

function packed<K extends keyof Arrays>(number: number, kind: K): Field<Arrays[K]> {
  return { number, kind, form: 'packed', isAlways: false };
}

function message<M>(number: number, kind: () => Format<M>): Field<M> {
  return { number, kind, form: 'one', isAlways: false };
}

/** Messages in a list that may be absent. */
function messages<M>(number: number, kind: () => Format<M>): Field<readonly M[]> {
  return { number, kind, form: 'list', isAlways: false };
}

function always<V>(field: Field<V>): Field<V> {
  return { ...field, isAlways: true };
}

const entry: Format<onnx.StringStringEntryProto> = { key: one(1, 'string'), value: one(2, 'string') };

const operatorSetId: Format<onnx.OperatorSetIdProto> = {
  domain: one(1, 'string'),
  version: one(2, 'integer'),
};

export const modelFormat: Format<onnx.ModelProto> = {
  irVersion: one(1, 'integer'),
  producerName: one(2, 'string'),
  producerVersion: one(3, 'string'),
  domain: one(4, 'string'),
  modelVersion: one(5, 'int64'),
  docString: one(6, 'string'),
  graph: message(7, () => graph),
  opsetImport: always(messages(8, () => operatorSetId)),
  metadataProps: messages(14, () => entry),
  functions: messages(25, () => functionFormat),
};

const graph: Format<onnx.GraphProto> = {
  node: always(messages(1, () => node)),
  name: one(2, 'string'),
  initializer: always(messages(5, () => tensor)),
  docString: one(10, 'string'),
  input: always(messages(11, () => valueInfo)),
  output: always(messages(12, () => valueInfo)),
  valueInfo: always(messages(13, () => valueInfo)),
  sparseInitializer: messages(15, () => sparseTensor),
  metadataProps: messages(16, () => entry),
};

const node: Format<onnx.NodeProto> = {
  input: always(list(1, 'string')),
  output: always(list(2, 'string')),
  name: one(3, 'string'),
  opType: one(4, 'string'),
  attribute: always(messages(5, () => attribute)),
  docString: one(6, 'string'),
  domain: one(7, 'string'),
  overload: one(8, 'string'),
  metadataProps: messages(9, () => entry),
};

const attribute: Format<onnx.AttributeProto> = {
  name: one(1, 'string'),
  f: one(2, 'float'),
  i: one(3, 'int64'),
  s: one(4, 'bytes'),
  t: message(5, () => tensor),
  g: message(6, () => graph),
  floats: array(7, 'float'),
  ints: array(8, 'int64'),
  strings: list(9, 'bytes'),
  tensors: messages(10, () => tensor),
  graphs: messages(11, () => graph),
  docString: one(13, 'string'),
  tp: message(14, () => type),
  typeProtos: messages(15, () => type),
  type: one(20, 'int32'),
  refAttrName: one(21, 'string'),
  sparseTensor: message(22, () => sparseTensor),
  sparseTensors: messages(23, () => sparseTensor),
};

const tensor: Format<onnx.TensorProto> = {
  dims: always(list(1, 'integer')),
  dataType: one(2, 'int32'),
  floatData: packed(4, 'float'),
  int32Data: packed(5, 'int32'),
  stringData: list(6, 'bytes'),
  int64Data: packed(7, 'int64'),
  name: one(8, 'string'),
  rawData: one(9, 'bytes'),
  doubleData: packed(10, 'double'),
  uint64Data: packed(11, 'uint64'),
  docString: one(12, 'string'),
  externalData: messages(13, () => entry),
  dataLocation: one(14, 'int32'),
  metadataProps: messages(16, () => entry),
};

const sparseTensor: Format<onnx.SparseTensorProto> = {
  values: message(1, () => tensor),
  indices: message(2, () => tensor),
  dims: always(list(3, 'integer')),
};

const valueInfo: Format<onnx.ValueInfoProto> = {
  name: one(1, 'string'),
  type: message(2, () => type),
  docString: one(3, 'string'),
  metadataProps: messages(4, () => entry),
};

const type: Format<onnx.TypeProto> = {
  tensorType: message(1, () => tensorType),
  sequenceType: message(4, () => elementType),
  mapType: message(5, () => mapType),
  denotation: one(6, 'string'),
  sparseTensorType: message(8, () => tensorType),
  optionalType: message(9, () => elementType),
};

const tensorType: Format<onnx.TensorTypeProto> = {
  elemType: one(1, 'int32'),
  shape: message(2, () => tensorShape),
};

const elementType: Format<onnx.ElementTypeProto> = { elemType: message(1, () => type) };

const mapType: Format<onnx.MapTypeProto> = {
  keyType: one(1, 'int32'),
  valueType: message(2, () => type),
};

const tensorShape: Format<onnx.TensorShapeProto> = { dim: always(messages(1, () => dimension)) };

const dimension: Format<onnx.DimensionProto> = {
  dimValue: one(1, 'integer'),
  dimParam: one(2, 'string'),
  denotation: one(3, 'string'),
};

const functionFormat: Format<onnx.FunctionProto> = {
  name: one(1, 'string'),
  input: always(list(4, 'string')),
  output: always(list(5, 'string')),
  attribute: always(list(6, 'string')),
  node: always(messages(7, () => node)),
  docString: one(8, 'string'),
  opsetImport: always(messages(9, () => operatorSetId)),
  domain: one(10, 'string'),
  attributeProto: messages(11, () => attribute),
  valueInfo: messages(12, () => valueInfo),
  overload: one(13, 'string'),
  metadataProps: messages(14, () => entry),
};
