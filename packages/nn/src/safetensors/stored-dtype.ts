import { TopKError } from '@topk-attention/core';

/** Element types of the format, and their bytes. */
const bytesOfDType = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

/** An element type that a safetensors file may hold. */
export type StoredDType = keyof typeof bytesOfDType;

/** Row-major values. F16 and BF16 are raw bits; BOOL is 0 and 1. */
export type StoredData = Float32Array | Float64Array | Uint16Array | Int32Array | BigInt64Array | Uint8Array;

export function isStoredDType(name: unknown): name is StoredDType {
  return typeof name === 'string' && Object.hasOwn(bytesOfDType, name);
}

export function storedBytes(dtype: StoredDType): number {
  return bytesOfDType[dtype];
}

/** Whether `toFloat32` takes it. */
export function isStoredFloat(dtype: StoredDType): boolean {
  return dtype === 'F32' || dtype === 'F16' || dtype === 'BF16' || dtype === 'F64';
}

/** The values of a tensor's bytes, which begin their own buffer. */
export function decodeStored(where: string, dtype: StoredDType, bytes: Uint8Array): StoredData {
  const { buffer, byteOffset } = bytes;
  const length = bytes.byteLength / bytesOfDType[dtype];
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, length);
    case 'F64':
      return new Float64Array(buffer, byteOffset, length);
    case 'F16':
    case 'BF16':
      return new Uint16Array(buffer, byteOffset, length);
    case 'I32':
      return new Int32Array(buffer, byteOffset, length);
    case 'I64':
      return new BigInt64Array(buffer, byteOffset, length);
    case 'BOOL':
    case 'U8':
      return bytes;
    case 'I8':
    case 'F8_E4M3':
    case 'F8_E5M2':
    case 'I16':
    case 'U16':
    case 'U32':
    case 'U64':
      throw new TopKError('UNSUPPORTED', `${where}: dtype ${dtype} is not read`, {
        expected: 'F32, F16, BF16, F64, I32, I64, U8 or BOOL',
        got: dtype,
        fix: 'Convert the checkpoint to F32, F16 or BF16',
      });
    default:
      return dtype satisfies never;
  }
}
