import { type Backend, type Shape, type Tensor, TopKError, tensor } from '@topk-attention/core';
import type { TensorReader } from './safetensors/read.js';

/** A parameter to load: which tensor of a file it is. */
export interface Upload {
  readonly name: string;
  /** Its name in the file. */
  readonly stored: string;
  /** Shape in the file. */
  readonly shape: Shape;
  /** Transposed on upload; rank 2 only. Default false. */
  readonly transposed?: boolean;
}

export interface UploadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Tensors of a file on a backend, as f32. If one cannot be read, everything uploaded is disposed of.
 *
 * @throws TopKError ABORTED; whatever reading and uploading throw
 */
export async function uploadAll(
  backend: Backend,
  reader: TensorReader,
  uploads: readonly Upload[],
  { signal, onProgress }: UploadOptions = {},
): Promise<{ readonly [name: string]: Tensor }> {
  const loaded: { [name: string]: Tensor } = {};
  try {
    for (const [index, { name, stored, shape, transposed = false }] of uploads.entries()) {
      if (signal?.aborted === true) {
        throw new TopKError('ABORTED', 'loading was aborted', { cause: signal.reason });
      }
      const values = await reader.readFloat32(stored);
      loaded[name] = transposed
        ? tensor(backend, transposeMatrix(values, shape), [...shape].reverse())
        : tensor(backend, values, shape);
      // A failed upload poisons its tensor; report it here, not in the first result.
      void loaded[name].handle;
      onProgress?.(index + 1, uploads.length);
    }
    return loaded;
  } catch (error) {
    for (const one of Object.values(loaded)) one.dispose();
    throw error;
  }
}

function transposeMatrix(values: Float32Array, shape: Shape): Float32Array {
  const [rows, columns] = shape as readonly [number, number];
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      result[column * rows + row] = values[row * columns + column] as number;
    }
  }
  return result;
}
