import { TopKError } from '@topk-attention/core';

/** Bits per element of the format's types. */
const bitsOfDType = {
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E4M3: 8,
  F8_E5M2: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  F64: 64,
  I64: 64,
  U64: 64,
  C64: 64,
} as const;

type KnownDType = keyof typeof bitsOfDType;

/** An element type that a safetensors file may hold; the format may gain new ones. */
export type StoredDType = KnownDType | (string & {});

/** Row-major values. F16 and BF16 are raw bits; BOOL is 0 and 1. */
export type StoredData = Float32Array | Float64Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array;

/** Bits of an element; undefined for an unknown type. */
export function storedBits(dtype: StoredDType): number | undefined {
  return isKnown(dtype) ? bitsOfDType[dtype] : undefined;
}

function isKnown(dtype: StoredDType): dtype is KnownDType {
  return Object.hasOwn(bitsOfDType, dtype);
}

/** Whether `toFloat32` accepts it. */
export function isStoredFloat(dtype: StoredDType): boolean {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16' || dtype === 'F64';
}

/** Values from bytes that start their own buffer. @throws TopKError UNSUPPORTED for types without a typed array. */
export function decodeStored(where: string, dtype: StoredDType, bytes: Uint8Array): StoredData {
  const { buffer, byteOffset, byteLength } = bytes;
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, byteLength / 4);
    case 'F64':
      return new Float64Array(buffer, byteOffset, byteLength / 8);
    case 'F16':
    case 'BF16':
      return new Uint16Array(buffer, byteOffset, byteLength / 2);
    case 'I32':
      return new Int32Array(buffer, byteOffset, byteLength / 4);
    case 'I64':
      return new BigInt64Array(buffer, byteOffset, byteLength / 8);
    case 'BOOL':
    case 'U8':
      return bytes;
    default:
      throw new TopKError('UNSUPPORTED', `${where}: dtype ${dtype} is not supported`, {
        expected: 'F32, F16, BF16, F64, I32, I64, U8 or BOOL',
        got: dtype,
        fix: 'Convert the checkpoint to F32, F16 or BF16',
      });
  }
}
