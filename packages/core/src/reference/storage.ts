import type { BackendTensor, MemoryReport } from '../contract/backend.js';
import type { DType, TensorData } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { type Shape, sizeOf } from '../contract/shape.js';
import { halfToNumber, numberToHalf } from './float16.js';

/** One block of memory, shared by the tensors that view it and counted by them. */
class Block {
  readonly #data: TensorData;
  views = 1;

  constructor(data: TensorData) {
    this.#data = data;
  }

  /** Throws where an engine would read memory that it no longer owns. */
  get data(): TensorData {
    if (this.views > 0) return this.#data;
    throw new TopKError('DISPOSED', 'reference: a tensor was used after its storage was released');
  }
}

/** Row-major and contiguous; only `reshape` makes a second view of a block. */
export interface ReferenceTensor extends BackendTensor {
  readonly block: Block;
}

/** Numbers by index: what every loop of this backend reads and writes. */
export type Numbers = { readonly length: number; [index: number]: number };

/**
 * Memory of one reference backend: typed arrays, with an exact count of live bytes. Assigning to a typed array is
 * the rounding of the storage type, so the loops compute in f64 and round once per stored value.
 */
export class ReferenceMemory {
  readonly floatStorage: 'f32' | 'f64';
  #live = 0;
  #peak = 0;
  #disposed = false;
  readonly #released = new WeakSet<ReferenceTensor>();

  constructor(floatStorage: 'f32' | 'f64') {
    this.floatStorage = floatStorage;
  }

  /** An array of zeros of the type that `dtype` is stored in. */
  #newArray(dtype: DType, size: number): TensorData {
    switch (dtype) {
      case 'f32':
        return this.floatStorage === 'f64' ? new Float64Array(size) : new Float32Array(size);
      case 'f16':
        return new Uint16Array(size);
      case 'i32':
        return new Int32Array(size);
      case 'bool':
        return new Uint8Array(size);
      default:
        return dtype satisfies never;
    }
  }

  /** Throws once the backend is disposed. */
  requireUsable(): void {
    if (this.#disposed) throw new TopKError('DISPOSED', 'reference: the backend was used after dispose()');
  }

  #own(shape: Shape, dtype: DType, data: TensorData): ReferenceTensor {
    this.requireUsable();
    this.#live += data.byteLength;
    this.#peak = Math.max(this.#peak, this.#live);
    return { shape: [...shape], dtype, block: new Block(data) };
  }

  /** A new tensor whose values `compute` writes, as numbers, into an array of zeros. */
  make(shape: Shape, dtype: DType, compute: (out: Numbers) => void): ReferenceTensor {
    const data = this.#newArray(dtype, sizeOf(shape));
    if (dtype === 'f16') {
      const numbers = new Float64Array(data.length);
      compute(numbers);
      for (let i = 0; i < data.length; i++) data[i] = numberToHalf(numbers[i] as number);
    } else {
      compute(data);
    }
    return this.#own(shape, dtype, data);
  }

  /** A new tensor of stored values, moved without being read as numbers (f16: bits). */
  makeRaw(shape: Shape, dtype: DType, move: (out: TensorData) => void): ReferenceTensor {
    const data = this.#newArray(dtype, sizeOf(shape));
    move(data);
    return this.#own(shape, dtype, data);
  }

  /** A second view of the same block. */
  view(x: ReferenceTensor, shape: Shape): ReferenceTensor {
    this.requireUsable();
    x.block.views += 1;
    return { shape: [...shape], dtype: x.dtype, block: x.block };
  }

  /** Counts memory that is held only during `work`. */
  withScratch<Result>(bytes: number, work: () => Result): Result {
    this.#live += bytes;
    this.#peak = Math.max(this.#peak, this.#live);
    try {
      return work();
    } finally {
      this.#live -= bytes;
    }
  }

  release(x: ReferenceTensor): void {
    if (this.#disposed) return;
    if (this.#released.has(x)) throw new TopKError('DISPOSED', 'reference: a tensor was released twice');
    this.#released.add(x);
    if (x.block.views === 1) this.#live -= x.block.data.byteLength;
    x.block.views -= 1;
  }

  report(): MemoryReport {
    return {
      live: this.#live,
      peak: this.#peak,
      covers: 'the typed arrays of live tensors, and the working arrays of fused operations while they run',
    };
  }

  resetPeak(): void {
    this.#peak = this.#live;
  }

  dispose(): void {
    this.#disposed = true;
    this.#live = 0;
  }
}

/** The values of a tensor as numbers; only f16 needs decoding. */
export function numbersOf(x: ReferenceTensor): Numbers {
  if (x.dtype !== 'f16') return x.block.data;
  return Float64Array.from(x.block.data, halfToNumber);
}
