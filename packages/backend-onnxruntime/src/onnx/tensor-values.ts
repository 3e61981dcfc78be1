import { TopKError } from '@topk-attention/core';
import { dataTypes } from './data-types.js';
import type { TensorProto } from './messages.js';

/**
 * Values of a tensor in row-major order. Half and bfloat16 numbers, and those of 8 bits, come as their bits; those of less
 * than 8 bits packed into bytes as in the file; complex numbers as pairs.
 */
export type TensorValues =
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array
  | readonly Uint8Array[];

/** Where a tensor's values are if they are not in the model's file. */
export interface ExternalValues {
  /** A path relative to the folder of the model's file. */
  readonly location: string;
  readonly offset: number;
  /** Absent: everything after the offset. */
  readonly length?: number;
}

/**
 * Undefined for tensors whose values are in the model's file.
 *
 * @throws TopKError FILE_CORRUPT for a reference without a location, or with an offset or length that is not a number.
 */
export function externalValuesOf(tensor: TensorProto): ExternalValues | undefined {
  if (tensor.dataLocation !== EXTERNAL) return undefined;
  const entries = new Map(tensor.externalData?.map(({ key, value }) => [key, value]));
  const location = entries.get('location');
  const length = entries.get('length');
  const offset = Number(entries.get('offset') ?? 0);
  const numbers = [offset, ...(length === undefined ? [] : [Number(length)])];
  if (!location || !numbers.every((one) => Number.isSafeInteger(one) && one >= 0)) {
    throw corrupt(tensor, 'a location, an offset and a length', JSON.stringify(Object.fromEntries(entries)));
  }
  return { location, offset, ...(length !== undefined && { length: Number(length) }) };
}

/**
 * The values of a tensor, wherever they are stored. Those of `rawData` are a view of it where the alignment allows.
 *
 * @param external The bytes that `externalValuesOf` names; required if it names any.
 * @throws TopKError FILE_CORRUPT when shape, type and number of values do not fit; UNSUPPORTED for an unknown element
 * type, and for external values that are not passed in.
 */
export function valuesOf(tensor: TensorProto, external?: Uint8Array): TensorValues {
  const size = tensor.dims.reduce((product, extent) => product * extent, 1);
  if (!Number.isSafeInteger(size) || tensor.dims.some((extent) => extent < 0)) {
    throw corrupt(tensor, 'extents of at least 0', `[${tensor.dims}]`);
  }
  if (tensor.dataType === dataTypes.string) {
    const strings = tensor.stringData ?? [];
    if (strings.length !== size) throw corrupt(tensor, `${size} strings`, `${strings.length}`);
    return strings;
  }
  const layout = layouts.get(tensor.dataType ?? 0);
  if (layout === undefined) throw unsupported(tensor, `element type ${tensor.dataType}`);
  const isExternal = externalValuesOf(tensor) !== undefined;
  if (isExternal && external === undefined) throw unsupported(tensor, 'values in another file');
  const raw = isExternal ? external : tensor.rawData;
  return raw === undefined ? fromList(tensor, layout, size) : fromBytes(tensor, layout, size, raw);
}

const EXTERNAL = 1;

type Numbers = Exclude<TensorValues, readonly Uint8Array[]>;

interface Layout {
  readonly bits: number;
  /** The list that holds the values if `rawData` does not. */
  readonly list: 'floatData' | 'int32Data' | 'int64Data' | 'uint64Data' | 'doubleData';
  /** Values from as many elements of their bytes. */
  readonly view: (buffer: ArrayBufferLike, offset: number, length: number) => Numbers;
  /** Values from the list. */
  readonly from: (list: ArrayLike<number | bigint>) => Numbers;
}

const layout = (
  bits: number,
  list: Layout['list'],
  array: {
    new (buffer: ArrayBufferLike, offset: number, length: number): Numbers;
    from(list: Iterable<number>): Numbers;
  },
): Layout => ({
  bits,
  list,
  view: (buffer, offset, length) => new array(buffer, offset, length),
  from: (values) => array.from(Array.from(values, Number)),
});

const byte = layout(8, 'int32Data', Uint8Array);
const bits16 = layout(16, 'int32Data', Uint16Array);
const part = (bits: number): Layout => ({ ...byte, bits });

const layouts: ReadonlyMap<number, Layout> = new Map([
  [dataTypes.float, layout(32, 'floatData', Float32Array)],
  [dataTypes.uint8, byte],
  [dataTypes.int8, layout(8, 'int32Data', Int8Array)],
  [dataTypes.uint16, bits16],
  [dataTypes.int16, layout(16, 'int32Data', Int16Array)],
  [dataTypes.int32, layout(32, 'int32Data', Int32Array)],
  [
    dataTypes.int64,
    {
      bits: 64,
      list: 'int64Data',
      view: (buffer, offset, length) => new BigInt64Array(buffer, offset, length),
      from: (list) => BigInt64Array.from(list as BigInt64Array),
    },
  ],
  [dataTypes.bool, byte],
  [dataTypes.float16, bits16],
  [dataTypes.double, layout(64, 'doubleData', Float64Array)],
  [dataTypes.uint32, layout(32, 'uint64Data', Uint32Array)],
  [
    dataTypes.uint64,
    {
      bits: 64,
      list: 'uint64Data',
      view: (buffer, offset, length) => new BigUint64Array(buffer, offset, length),
      from: (list) => BigUint64Array.from(list as BigUint64Array),
    },
  ],
  [dataTypes.complex64, layout(64, 'floatData', Float32Array)],
  [dataTypes.complex128, layout(128, 'doubleData', Float64Array)],
  [dataTypes.bfloat16, bits16],
  [dataTypes.float8e4m3fn, byte],
  [dataTypes.float8e4m3fnuz, byte],
  [dataTypes.float8e5m2, byte],
  [dataTypes.float8e5m2fnuz, byte],
  [dataTypes.uint4, part(4)],
  [dataTypes.int4, part(4)],
  [dataTypes.float4e2m1, part(4)],
  [dataTypes.float8e8m0, byte],
  [dataTypes.uint2, part(2)],
  [dataTypes.int2, part(2)],
] as const satisfies readonly (readonly [number, Layout])[]);

function fromBytes(tensor: TensorProto, { bits, view }: Layout, size: number, raw: Uint8Array): Numbers {
  const bytes = Math.ceil((bits * size) / 8);
  if (raw.byteLength !== bytes) throw corrupt(tensor, `${bytes} bytes`, `${raw.byteLength}`);
  const one = view(new ArrayBuffer(0), 0, 0).BYTES_PER_ELEMENT;
  const aligned = raw.byteOffset % one === 0 ? raw : raw.slice();
  return view(aligned.buffer, aligned.byteOffset, bytes / one);
}

function fromList(tensor: TensorProto, { bits, list, from }: Layout, size: number): Numbers {
  const values = tensor[list] ?? [];
  // Several small values per entry, two entries per complex number.
  const isComplex = tensor.dataType === dataTypes.complex64 || tensor.dataType === dataTypes.complex128;
  const entries = isComplex ? 2 * size : bits < 8 ? Math.ceil((bits * size) / 8) : size;
  if (values.length !== entries) throw corrupt(tensor, `${entries} values in ${list}`, `${values.length}`);
  return from(values);
}

function nameOf({ name = '' }: TensorProto): string {
  return name === '' ? 'tensor' : `tensor ${name}`;
}

function corrupt(tensor: TensorProto, expected: string, got: string): TopKError {
  const fix = 'Download or export the file again';
  return new TopKError('FILE_CORRUPT', `${nameOf(tensor)}: bad values`, { expected, got, fix });
}

function unsupported(tensor: TensorProto, got: string): TopKError {
  return new TopKError('UNSUPPORTED', `${nameOf(tensor)}: its values cannot be read`, {
    expected: `an element type up to ${dataTypes.int2}, with values in the file or handed in`,
    got,
  });
}
