import type { DType, TensorData } from '@topk-attention/core';
import { TopKError } from '@topk-attention/core';
import type { OrtArray } from '../runtime/ort.js';

const ortTypes = { f32: 'float32', f16: 'float16', i32: 'int32', bool: 'bool' } as const;

export function ortType(dtype: DType): string {
  return ortTypes[dtype];
}

/** The dtype of an engine tensor's element type; throws for those that core has no name for. */
export function dtypeOfOrt(type: string): DType {
  for (const [dtype, name] of Object.entries(ortTypes)) if (name === type) return dtype as DType;
  throw new TopKError('DTYPE_MISMATCH', 'fromOrt: unknown element type', {
    expected: Object.values(ortTypes).join(', '),
    got: type,
  });
}

export function arrayFor(dtype: DType, length: number): Float32Array | Uint16Array | Int32Array | Uint8Array {
  switch (dtype) {
    case 'f32':
      return new Float32Array(length);
    case 'f16':
      return new Uint16Array(length);
    case 'i32':
      return new Int32Array(length);
    case 'bool':
      return new Uint8Array(length);
    default:
      return dtype satisfies never;
  }
}

/** A copy in the array type that the engine wants; float64 numbers are rounded to f32. */
export function copyForEngine(data: TensorData, dtype: DType): OrtArray {
  const copy = arrayFor(dtype, data.length);
  copy.set(data);
  return copy;
}

/** A copy of an engine tensor's values in the array type that core promises. */
export function copyFromEngine(data: unknown, dtype: DType): TensorData {
  if (!ArrayBuffer.isView(data)) {
    throw new TopKError('ENGINE_FAILURE', 'read: the engine returned no array', { got: typeof data });
  }
  // Half precision comes as Float16Array on newer Node; core's public form is the bits.
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
  switch (dtype) {
    case 'f32':
      return new Float32Array(bytes.buffer);
    case 'f16':
      return new Uint16Array(bytes.buffer);
    case 'i32':
      return new Int32Array(bytes.buffer);
    case 'bool':
      return bytes;
    default:
      return dtype satisfies never;
  }
}

/** Element type of a runtime parameter: int64 numbers, or a tensor of one of core's types. */
export function dtypeOfParameter(parameter: { readonly type: string }): DType | 'i64' {
  return parameter.type === 'int64' ? 'i64' : dtypeOfOrt(parameter.type);
}
