/**
 * The messages of onnx.proto, field by field under their own names in camel case, for models read from files and for
 * models made here. What a file leaves out is absent; the lists that make up a graph are always present, even if
 * empty.
 *
 * Training information, quantisation annotations, segments of tensors, opaque types and placement on devices are left
 * out: what a file holds of those, and of later versions of the format, is in `unknownFields` and is written back
 * unchanged.
 */
export interface Message {
  /** Fields of the message that have no name here, as they stand in the file. */
  readonly unknownFields?: Uint8Array;
}

export interface ModelProto extends Message {
  readonly irVersion?: number;
  readonly producerName?: string;
  readonly producerVersion?: string;
  readonly domain?: string;
  readonly modelVersion?: bigint;
  readonly docString?: string;
  readonly graph?: GraphProto;
  readonly opsetImport: readonly OperatorSetIdProto[];
  readonly metadataProps?: readonly StringStringEntryProto[];
  /** Operators that the model defines itself. */
  readonly functions?: readonly FunctionProto[];
}

export interface OperatorSetIdProto extends Message {
  /** Absent or empty for the standard operators. */
  readonly domain?: string;
  readonly version?: number;
}

export interface StringStringEntryProto extends Message {
  readonly key?: string;
  readonly value?: string;
}

export interface GraphProto extends Message {
  readonly name?: string;
  /** Inputs before users. */
  readonly node: readonly NodeProto[];
  readonly initializer: readonly TensorProto[];
  readonly sparseInitializer?: readonly SparseTensorProto[];
  readonly input: readonly ValueInfoProto[];
  readonly output: readonly ValueInfoProto[];
  /** Types and shapes of inner values. */
  readonly valueInfo: readonly ValueInfoProto[];
  readonly docString?: string;
  readonly metadataProps?: readonly StringStringEntryProto[];
}

export interface NodeProto extends Message {
  readonly name?: string;
  readonly opType?: string;
  readonly domain?: string;
  readonly overload?: string;
  /** Names of values; an empty name is an optional input that is not given. */
  readonly input: readonly string[];
  readonly output: readonly string[];
  readonly attribute: readonly AttributeProto[];
  readonly docString?: string;
  readonly metadataProps?: readonly StringStringEntryProto[];
}

/** `type` (AttributeProto.AttributeType) says which of the values counts; files of IR version 1 have the value alone. */
export interface AttributeProto extends Message {
  readonly name?: string;
  /** In the body of a function: the function's attribute that this one repeats. */
  readonly refAttrName?: string;
  readonly docString?: string;
  readonly type?: number;
  readonly f?: number;
  readonly i?: bigint;
  readonly s?: Uint8Array;
  readonly t?: TensorProto;
  readonly g?: GraphProto;
  readonly sparseTensor?: SparseTensorProto;
  readonly tp?: TypeProto;
  readonly floats?: Float32Array;
  readonly ints?: BigInt64Array;
  readonly strings?: readonly Uint8Array[];
  readonly tensors?: readonly TensorProto[];
  readonly graphs?: readonly GraphProto[];
  readonly sparseTensors?: readonly SparseTensorProto[];
  readonly typeProtos?: readonly TypeProto[];
}

/** Values are in `rawData`, in the list of their type, or in another file. `valuesOf` reads them. */
export interface TensorProto extends Message {
  readonly name?: string;
  /** One of `dataTypes`. */
  readonly dataType?: number;
  readonly dims: readonly number[];
  /** Little-endian, without gaps. As read, a view of the file's bytes. */
  readonly rawData?: Uint8Array;
  readonly floatData?: Float32Array;
  readonly int32Data?: Int32Array;
  readonly int64Data?: BigInt64Array;
  readonly uint64Data?: BigUint64Array;
  readonly doubleData?: Float64Array;
  readonly stringData?: readonly Uint8Array[];
  /** 1 when the values lie in the file that `externalData` names. */
  readonly dataLocation?: number;
  readonly externalData?: readonly StringStringEntryProto[];
  readonly docString?: string;
  readonly metadataProps?: readonly StringStringEntryProto[];
}

export interface SparseTensorProto extends Message {
  readonly values?: TensorProto;
  readonly indices?: TensorProto;
  readonly dims: readonly number[];
}

export interface ValueInfoProto extends Message {
  readonly name?: string;
  readonly type?: TypeProto;
  readonly docString?: string;
  readonly metadataProps?: readonly StringStringEntryProto[];
}

/** One of its types. */
export interface TypeProto extends Message {
  readonly tensorType?: TensorTypeProto;
  readonly sequenceType?: ElementTypeProto;
  readonly mapType?: MapTypeProto;
  readonly optionalType?: ElementTypeProto;
  readonly sparseTensorType?: TensorTypeProto;
  readonly denotation?: string;
}

export interface TensorTypeProto extends Message {
  readonly elemType?: number;
  /** Absent where not even the rank is known. */
  readonly shape?: TensorShapeProto;
}

/** The element type of a sequence or an optional value. */
export interface ElementTypeProto extends Message {
  readonly elemType?: TypeProto;
}

export interface MapTypeProto extends Message {
  readonly keyType?: number;
  readonly valueType?: TypeProto;
}

export interface TensorShapeProto extends Message {
  readonly dim: readonly DimensionProto[];
}

/** An extent, its name, or nothing if unknown. */
export interface DimensionProto extends Message {
  readonly dimValue?: number;
  readonly dimParam?: string;
  readonly denotation?: string;
}

export interface FunctionProto extends Message {
  readonly name?: string;
  readonly domain?: string;
  readonly overload?: string;
  readonly input: readonly string[];
  readonly output: readonly string[];
  /** Attributes without a default. */
  readonly attribute: readonly string[];
  /** Attributes with a default. */
  readonly attributeProto?: readonly AttributeProto[];
  readonly node: readonly NodeProto[];
  readonly opsetImport: readonly OperatorSetIdProto[];
  readonly valueInfo?: readonly ValueInfoProto[];
  readonly docString?: string;
  readonly metadataProps?: readonly StringStringEntryProto[];
}
