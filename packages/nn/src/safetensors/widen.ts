import { TopKError } from '@topk-attention/core';
import type { StoredData, StoredDType } from './stored-dtype.js';

/** f32 bits of a half's bits: the exponent is rebiased, subnormals are made normal; every half is exact in f32. */
function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

/** Stored floats as f32: F16 and BF16 exactly, F64 rounded. F32 is returned as it is. */
export function toFloat32(dtype: StoredDType, data: StoredData): Float32Array {
  if (dtype === 'F32' && data instanceof Float32Array) return data;
  if (dtype === 'F64' && data instanceof Float64Array) return Float32Array.from(data);
  if ((dtype === 'F16' || dtype === 'BF16') && data instanceof Uint16Array) {
    const bits = new Uint32Array(data.length);
    if (dtype === 'BF16') {
      for (let i = 0; i < bits.length; i++) bits[i] = (data[i] as number) << 16;
    } else {
      for (let i = 0; i < bits.length; i++) bits[i] = halfToFloatBits(data[i] as number);
    }
    return new Float32Array(bits.buffer);
  }
  throw new TopKError('DTYPE_MISMATCH', 'toFloat32: no floating-point values', {
    expected: 'F32, F16, BF16 or F64',
    got: dtype,
  });
}
