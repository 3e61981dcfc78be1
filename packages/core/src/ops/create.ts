import type { Backend } from '../contract/backend.js';
import type { DType, TensorData } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { checkShape, formatShape, type Shape, sizeOf } from '../contract/shape.js';
import { noteSeed } from '../recording/used-seeds.js';
import { create } from '../tensor/apply.js';
import { describeValue } from '../tensor/describe-value.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * A tensor from row-major numbers. The dtype follows the array unless given: Float32Array, Float64Array and number[]
 * make f32, Int32Array i32, Uint8Array and boolean[] bool (nonzero is true), Uint16Array f16 bits.
 *
 * @throws TopKError SHAPE_MISMATCH when the length does not match the shape; INVALID_OPTION for nested arrays, holes
 * and entries that are not numbers; UNSUPPORTED for a dtype the backend lacks.
 */
export function tensor(
  backend: Backend,
  data: TensorData | readonly number[] | readonly boolean[],
  shape?: Shape,
  dtype?: DType,
): Tensor {
  checkData(data);
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

/** A tensor with every element `value`; in a bool tensor, every number except 0 means true. */
export function fill(backend: Backend, value: number | boolean, shape: Shape, dtype: DType = 'f32'): Tensor {
  checkShape('fill', shape);
  checkDType('fill', backend, dtype);
  if (typeof value !== 'number' && !(typeof value === 'boolean' && dtype === 'bool')) {
    throw new TopKError('INVALID_OPTION', 'fill: bad value', {
      expected: dtype === 'bool' ? 'a number or a boolean' : 'a number',
      got: describeValue(value),
    });
  }
  const number = dtype === 'bool' ? toBit(value) : Number(value);
  return create('fill', backend, { shape, dtype }, () => backend.fill(number, shape, dtype));
}

export function zeros(backend: Backend, shape: Shape, dtype: DType = 'f32'): Tensor {
  return fill(backend, 0, shape, dtype);
}

/** i32 [length]: start, start + 1, ... */
export function arange(backend: Backend, length: number, start = 0): Tensor {
  if (!Number.isSafeInteger(length) || length < 0 || !Number.isSafeInteger(start)) {
    throw new TopKError('INVALID_OPTION', 'arange: bad length or start', {
      expected: 'a length of at least 0 and a start, both whole',
      got: `${describeValue(length)} and ${describeValue(start)}`,
    });
  }
  return tensor(
    backend,
    Int32Array.from({ length }, (_, index) => start + index),
    [length],
    'i32',
  );
}

/**
 * i32 random bits, the same on every backend: words of Philox4x32-10 with key `seed` (a whole number below 2^53). The
 * element whose coordinates plus `offset` are (a, b, c, d) gets word d & 3 at the counter (a, b, c, d >>> 2): the four
 * axes are those of rank 4, of which the shape's are the first ones. Rank at most 4.
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
      got: `seed ${describeValue(seed)}, rank ${shape.length}`,
    });
  }
  if (!Array.isArray(offset) || offset.length !== 4 || !offset.every(Number.isSafeInteger)) {
    throw new TopKError('INVALID_OPTION', 'randomBits: bad offset', {
      expected: 'an array of 4 whole numbers',
      got: describeValue(offset),
    });
  }
  noteSeed(seed);
  return create('randomBits', backend, { shape, dtype: 'i32' }, () =>
    backend.randomBits(seed, offset, shape),
  );
}

/** Throws INVALID_OPTION for anything but a flat array of numbers. */
function checkData(data: unknown): asserts data is TensorData | readonly number[] | readonly boolean[] {
  if (Array.isArray(data)) {
    // By index: `every` skips holes.
    for (let at = 0; at < data.length; at++) {
      const type = typeof data[at];
      if (type !== 'number' && type !== 'boolean') throw badEntry(data, at);
    }
    return;
  }
  const isNumbers =
    ArrayBuffer.isView(data) &&
    !(data instanceof DataView) &&
    !(data instanceof BigInt64Array) &&
    !(data instanceof BigUint64Array);
  if (isNumbers) return;
  throw new TopKError('INVALID_OPTION', 'tensor: bad data', {
    expected: 'a typed array or an array of numbers',
    got: describeValue(data),
  });
}

function badEntry(data: readonly unknown[], at: number): TopKError {
  const entry = data[at];
  const shape = [data.length, ...extentsOf(entry)];
  return new TopKError('INVALID_OPTION', 'tensor: bad data', {
    expected: 'numbers in one flat array',
    got: `${describeValue(entry)} at index ${at}`,
    ...(shape.length > 1 && {
      fix: `Flatten it and give the shape: tensor(backend, data.flat(${shape.length > 2 ? 'Infinity' : ''}), ${formatShape(shape)})`,
    }),
  });
}

/** The shape of nested arrays, judged by the first entry at each level. */
function extentsOf(entry: unknown): number[] {
  return Array.isArray(entry) ? [entry.length, ...extentsOf(entry[0])] : [];
}

function dtypeOf(data: TensorData | readonly number[] | readonly boolean[]): DType {
  if (data instanceof Int32Array) return 'i32';
  if (data instanceof Uint8Array) return 'bool';
  if (data instanceof Uint16Array) return 'f16';
  return typeof data[0] === 'boolean' ? 'bool' : 'f32';
}

function toTyped(data: TensorData | readonly number[] | readonly boolean[], dtype: DType): TensorData {
  switch (dtype) {
    case 'f32':
      // Float64Array passes through: the f64 storage mode keeps every bit, the others round on upload.
      if (data instanceof Float32Array || data instanceof Float64Array) return data;
      return Float64Array.from(data as ArrayLike<number>);
    case 'i32':
      return data instanceof Int32Array ? data : Int32Array.from(data as ArrayLike<number>);
    case 'bool':
      // Backends rely on 0 and 1; a mask is copied only if it has other bytes.
      if (data instanceof Uint8Array && data.every((byte) => byte <= 1)) return data;
      return Uint8Array.from(data as ArrayLike<number | boolean>, toBit);
    case 'f16':
      if (data instanceof Uint16Array) return data;
      throw new TopKError('DTYPE_MISMATCH', 'tensor: f16 needs raw bits', {
        expected: 'a Uint16Array',
        got: describeValue(data),
        fix: "Upload as f32 and cast(x, 'f16')",
      });
    default:
      return dtype satisfies never;
  }
}

/** Nonzero is true, as in `cast`; so is NaN. */
function toBit(value: number | boolean): 0 | 1 {
  return value === 0 || value === false ? 0 : 1;
}

const dtypes: readonly string[] = ['f32', 'f16', 'i32', 'bool'] satisfies readonly DType[];

/** Throws UNSUPPORTED for a dtype the backend does not store, INVALID_OPTION for an invalid dtype or backend. */
export function checkDType(where: string, backend: Backend, dtype: DType): void {
  if (typeof backend?.capabilities !== 'object') {
    throw new TopKError('INVALID_OPTION', `${where}: bad backend`, {
      expected: 'a backend, such as createReferenceBackend()',
      got: describeValue(backend),
    });
  }
  if (!dtypes.includes(dtype)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad dtype`, {
      expected: dtypes.map((one) => `'${one}'`).join(' or '),
      got: describeValue(dtype),
    });
  }
  if (backend.capabilities.dtypes.includes(dtype)) return;
  throw new TopKError('UNSUPPORTED', `${where}: ${backend.name} has no ${dtype} tensors`, {
    expected: backend.capabilities.dtypes.join(', '),
    got: dtype,
    ...(dtype === 'f16' && { fix: 'Widen to f32 when loading' }),
  });
}
