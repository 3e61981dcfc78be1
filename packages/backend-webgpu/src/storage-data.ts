import { type DType, type Shape, sizeOf, type TensorData } from '@topk-attention/core';

/** A copy of the caller's numbers as they are stored (see `View`), padded to whole words. */
export function toStorage(data: TensorData, dtype: DType): Uint8Array {
  const bytes = inStorage(data, dtype);
  return bytes.buffer === data.buffer ? bytes.slice() : bytes;
}

/** As `toStorage`, but the result may be the caller's own memory. */
export function inStorage(data: TensorData, dtype: DType): Uint8Array {
  const words = storedWords(data, dtype);
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}

function storedWords(data: TensorData, dtype: DType): Float32Array | Int32Array | Uint32Array | Uint16Array {
  switch (dtype) {
    case 'f32':
      return data instanceof Float32Array ? data : Float32Array.from(data);
    case 'i32':
      return data instanceof Int32Array ? data : Int32Array.from(data);
    case 'bool':
      return Uint32Array.from(data, (value) => (value === 0 ? 0 : 1));
    case 'f16': {
      if (data instanceof Uint16Array && data.length % 2 === 0) return data;
      const halves = new Uint16Array(2 * Math.ceil(data.length / 2));
      halves.set(data);
      return halves;
    }
    default:
      return dtype satisfies never;
  }
}

/** The numbers of a tensor from its stored bytes, which the result may share. */
export function fromStorage(bytes: Uint8Array, shape: Shape, dtype: DType): TensorData {
  const size = sizeOf(shape);
  const { buffer, byteOffset } = bytes;
  switch (dtype) {
    case 'f32':
      return new Float32Array(buffer, byteOffset, size);
    case 'i32':
      return new Int32Array(buffer, byteOffset, size);
    case 'bool':
      return Uint8Array.from(new Uint32Array(buffer, byteOffset, size));
    case 'f16':
      return new Uint16Array(buffer, byteOffset, size);
    default:
      return dtype satisfies never;
  }
}
