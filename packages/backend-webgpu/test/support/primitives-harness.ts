import { type Backend, type DType, type Shape, sizeOf, type TensorData } from '@topk-attention/core';
import {
  createReferenceBackend,
  halfToNumber,
  numberToHalf,
  type ReferenceTensor,
} from '@topk-attention/core/reference';
import { randomBits } from '@topk-attention/vitest-preset/random';
import { acquireDevice } from '../../src/runtime/acquire.js';
import { Stream } from '../../src/runtime/stream.js';
import { storageBytes, type View } from '../../src/runtime/view.js';

/** A tensor on both sides: in a buffer of the device and in core's reference backend. */
export interface Both {
  readonly view: View;
  readonly reference: ReferenceTensor;
}

/** Records primitives on the software GPU beside the reference backend. */
export class Harness {
  readonly stream: Stream;
  readonly reference: Backend<ReferenceTensor> = createReferenceBackend();

  constructor(stream: Stream) {
    this.stream = stream;
  }

  static async create(): Promise<Harness> {
    const { device } = await acquireDevice();
    return new Harness(new Stream(device));
  }

  upload(numbers: ArrayLike<number>, shape: Shape, dtype: DType = 'f32'): Both {
    const data = dataOf(numbers, dtype);
    const view = this.empty(shape, dtype);
    const words = new Uint8Array(view.span.size);
    const stored = dtype === 'bool' ? Uint32Array.from(data) : data;
    words.set(new Uint8Array(stored.buffer));
    if (data.length > 0) this.stream.write(view.span, words);
    return { view, reference: this.reference.upload(data, shape, dtype) };
  }

  /** A result to be written: full of rubbish, so that what is left out shows. */
  empty(shape: Shape, dtype: DType = 'f32'): View {
    const span = this.stream.scratch(storageBytes(shape, dtype));
    this.stream.write(span, new Uint8Array(span.size).fill(0xd7));
    return { span, shape, dtype };
  }

  /** Stored elements: bits of f16, numbers of the others. */
  async read({ span, shape, dtype }: View): Promise<number[]> {
    const bytes = await this.stream.read(span);
    const size = sizeOf(shape);
    if (dtype === 'f16') return Array.from(new Uint16Array(bytes.buffer, 0, size), halfToNumber);
    if (dtype === 'f32') return Array.from(new Float32Array(bytes.buffer, 0, size));
    return Array.from(new Int32Array(bytes.buffer, 0, size));
  }

  async expected(x: ReferenceTensor): Promise<number[]> {
    const data = await this.reference.read(x);
    return Array.from(data, x.dtype === 'f16' ? halfToNumber : (value) => value);
  }

  close(): void {
    this.stream.device.destroy();
  }
}

function dataOf(numbers: ArrayLike<number>, dtype: DType): TensorData {
  switch (dtype) {
    case 'f32':
      return Float32Array.from(numbers);
    case 'f16':
      return Uint16Array.from(numbers, numberToHalf);
    case 'i32':
      return Int32Array.from(numbers);
    case 'bool':
      return Uint8Array.from(numbers);
    default:
      return dtype satisfies never;
  }
}

/** Numbers in [0, 1) from a seed. */
export function generator(seed: number): () => number {
  const next = randomBits(seed);
  return () => next() / 2 ** 32;
}

/** Whole numbers from low to high. */
export function integers(count: number, low: number, high: number, seed = 1): number[] {
  const next = generator(seed);
  return Array.from({ length: count }, () => low + Math.floor(next() * (high - low + 1)));
}

/** Largest distance of two lists of numbers; infinite where one is NaN and the other is not, or infinities differ. */
export function distance(got: readonly number[], expected: readonly number[]): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
  let worst = 0;
  for (const [i, wanted] of expected.entries()) {
    const mine = got[i] as number;
    if (Object.is(mine, wanted) || mine === wanted) continue;
    const apart = Math.abs(mine - wanted);
    worst = Math.max(worst, Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart);
  }
  return worst;
}
