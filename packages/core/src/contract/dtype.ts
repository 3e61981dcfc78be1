/**
 * Element types. `f16` is an optional capability; its public data is the raw bits in a Uint16Array.
 * `bool` data is a Uint8Array of 0 and 1; on input, every other number counts as 1.
 */
export type DType = 'f32' | 'f16' | 'i32' | 'bool';

/** What `data()` returns. `f32` is a Float64Array only in the reference backend's f64 storage mode. */
export type TensorData = Float32Array | Float64Array | Uint16Array | Int32Array | Uint8Array;

/** Bytes of one element as the engines store it. */
export function bytesPerElement(dtype: DType): number {
  switch (dtype) {
    case 'f32':
    case 'i32':
      return 4;
    case 'f16':
      return 2;
    case 'bool':
      return 1;
    default:
      return dtype satisfies never;
  }
}

export function isFloat(dtype: DType): boolean {
  return dtype === 'f32' || dtype === 'f16';
}
