import type { Backend, DType, TensorData } from '@topk-attention/core';
import type { BackendTensor } from '@topk-attention/core/backend';
import { halfToNumber, numberToHalf } from '@topk-attention/core/reference';
import { check, checkClose, checkEqual, checkShape, type Tolerance } from './assert.js';
import type { Nd } from './nd.js';

/** Row-major data of a dtype from plain numbers. */
export function encode(numbers: ArrayLike<number>, dtype: DType): TensorData {
  switch (dtype) {
    case 'f32':
      return Float64Array.from(numbers);
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

/** Plain numbers from data of a dtype. */
export function decode(data: TensorData, dtype: DType): number[] {
  return Array.from(data, dtype === 'f16' ? halfToNumber : (value) => value);
}

/** Calls primitives of one backend directly, and releases everything at the end. */
export class Workbench {
  readonly backend: Backend;
  readonly tolerance: Tolerance;
  readonly #owned: BackendTensor[] = [];

  constructor(backend: Backend, tolerance: Tolerance) {
    this.backend = backend;
    this.tolerance = tolerance;
  }

  upload(x: Nd, dtype: DType = 'f32'): BackendTensor {
    return this.own(this.backend.upload(encode(x.data, dtype), x.shape, dtype));
  }

  /** Takes charge of a tensor that a primitive returned: it is released once, however often this is called. */
  own(x: BackendTensor): BackendTensor {
    if (!this.#owned.includes(x)) this.#owned.push(x);
    return x;
  }

  release(x: BackendTensor): void {
    const index = this.#owned.indexOf(x);
    check(index >= 0, 'conformance: released a tensor twice');
    this.#owned.splice(index, 1);
    this.backend.release(x);
  }

  releaseAll(): void {
    for (const x of this.#owned.splice(0)) this.backend.release(x);
  }

  async read(x: BackendTensor): Promise<number[]> {
    return decode(await this.backend.read(x), x.dtype);
  }

  /** Shape, dtype and every value. Integers and booleans are compared exactly. */
  async expect(
    got: BackendTensor,
    expected: Nd,
    options: { readonly what?: string; readonly dtype?: DType; readonly exact?: boolean } = {},
  ): Promise<void> {
    const { what = 'result', dtype = 'f32', exact = dtype === 'i32' || dtype === 'bool' } = options;
    this.own(got);
    check(got.dtype === dtype, `${what}: dtype ${got.dtype} where ${dtype} was expected`);
    checkShape(what, got.shape, expected.shape);
    const values = await this.read(got);
    if (exact) checkEqual(what, values, expected.data);
    else checkClose(what, values, expected.data, this.tolerance);
  }
}
