import { create } from '../apply.js';
import type { Backend } from '../backend.js';
import type { DType, TensorData } from '../dtype.js';
import { TopKError } from '../errors.js';
import { checkShape, formatShape, type Shape, sizeOf } from '../shape.js';
import type { Tensor } from '../tensor.js';

/**
 * A tensor from row-major numbers. The dtype follows the array unless given: Float32Array, Float64Array and number[]
 * make f32, Int32Array i32, Uint8Array bool, Uint16Array f16 bits.
 *
 * @throws TopKError SHAPE_MISMATCH when the length is not that of the shape; UNSUPPORTED for a dtype the backend lacks.
 */
export function tensor(
  backend: Backend,
  data: TensorData | readonly number[],
  shape?: Shape,
  dtype?: DType,
): Tensor {
  const type = dtype ?? dtypeOf(data);
  const extents = shape ?? [data.length];
  checkShape('tensor', extents);
  if (data.length !== sizeOf(extents)) {
    throw new TopKError('SHAPE_MISMATCH', 'tensor: wrong number of elements', {
      expected: `${sizeOf(extents)} for shape ${formatShape(extents)}`,
      got: String(data.length),
    });
  }
  checkDType('tensor', backend, type);
  const array = toTyped(data, type);
  return create('tensor', backend, { shape: extents, dtype: type }, () =>
    backend.upload(array, extents, type),
  );
}

/** A tensor with every element `value`. */
export function fill(backend: Backend, value: number, shape: Shape, dtype: DType = 'f32'): Tensor {
  checkShape('fill', shape);
  checkDType('fill', backend, dtype);
  return create('fill', backend, { shape, dtype }, () => backend.fill(value, shape, dtype));
}

export function zeros(backend: Backend, shape: Shape, dtype: DType = 'f32'): Tensor {
  return fill(backend, 0, shape, dtype);
}

/** i32 [length]: start, start + 1, ... */
export function arange(backend: Backend, length: number, start = 0): Tensor {
  return tensor(
    backend,
    Int32Array.from({ length }, (_, index) => start + index),
    [length],
    'i32',
  );
}

/**
 * i32 random bits, the same on every backend: word 0 of Philox4x32-10 with key `seed` (a whole number below 2^53) and
 * the element's coordinates plus `offset` as counter. Rank at most 4.
 */
export function randomBits(
  backend: Backend,
  seed: number,
  shape: Shape,
  offset: readonly [number, number, number, number] = [0, 0, 0, 0],
): Tensor {
  checkShape('randomBits', shape);
  if (!Number.isSafeInteger(seed) || seed < 0 || shape.length > 4) {
    throw new TopKError('INVALID_OPTION', 'randomBits: bad seed or rank', {
      expected: 'a whole seed from 0 to 2^53 - 1 and rank at most 4',
      got: `seed ${seed}, rank ${shape.length}`,
    });
  }
  return create('randomBits', backend, { shape, dtype: 'i32' }, () =>
    backend.randomBits(seed, offset, shape),
  );
}

function dtypeOf(data: TensorData | readonly number[]): DType {
  if (data instanceof Int32Array) return 'i32';
  if (data instanceof Uint8Array) return 'bool';
  if (data instanceof Uint16Array) return 'f16';
  return 'f32';
}

function toTyped(data: TensorData | readonly number[], dtype: DType): TensorData {
  const isTyped = ArrayBuffer.isView(data);
  switch (dtype) {
    case 'f32':
      // Float64Array passes through: the f64 storage mode keeps every bit, the others round on upload.
      if (isTyped && (data instanceof Float32Array || data instanceof Float64Array)) return data;
      return Float64Array.from(data as ArrayLike<number>);
    case 'i32':
      return data instanceof Int32Array ? data : Int32Array.from(data as ArrayLike<number>);
    case 'bool':
      return data instanceof Uint8Array
        ? data
        : Uint8Array.from(data as ArrayLike<number>, (x) => (x === 0 ? 0 : 1));
    case 'f16':
      if (data instanceof Uint16Array) return data;
      throw new TopKError('DTYPE_MISMATCH', 'tensor: f16 needs raw bits', {
        expected: 'a Uint16Array',
        fix: "Upload as f32 and cast(x, 'f16')",
      });
    default:
      return dtype satisfies never;
  }
}

/** Throws UNSUPPORTED for a dtype the backend does not store. */
export function checkDType(where: string, backend: Backend, dtype: DType): void {
  if (backend.capabilities.dtypes.includes(dtype)) return;
  throw new TopKError('UNSUPPORTED', `${where}: ${backend.name} has no ${dtype} tensors`, {
    expected: backend.capabilities.dtypes.join(', '),
    got: dtype,
    ...(dtype === 'f16' && { fix: 'Widen to f32 when loading' }),
  });
}
