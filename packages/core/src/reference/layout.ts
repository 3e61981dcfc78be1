import type { TensorData } from '../contract/dtype.js';
import { type Shape, sizeOf, stridesOf } from '../contract/shape.js';
import type { ReferenceMemory, ReferenceTensor } from './storage.js';

/**
 * Calls `visit(position, offset)` for every element of `shape` in row-major order: `position` counts the elements,
 * `offset` is the sum of coordinate * stride.
 */
export function forEachOffset(
  shape: Shape,
  strides: readonly number[],
  visit: (position: number, offset: number) => void,
): void {
  const size = sizeOf(shape);
  const coordinates = new Array<number>(shape.length).fill(0);
  let offset = 0;
  for (let position = 0; position < size; position++) {
    visit(position, offset);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const stride = strides[axis] as number;
      coordinates[axis] = (coordinates[axis] as number) + 1;
      offset += stride;
      if ((coordinates[axis] as number) < (shape[axis] as number)) break;
      coordinates[axis] = 0;
      offset -= stride * (shape[axis] as number);
    }
  }
}

/** Moves a box of `shape` elements from one strided place to another. */
function moveBox(
  from: TensorData,
  fromStart: number,
  fromStrides: readonly number[],
  to: TensorData,
  toStart: number,
  toStrides: readonly number[],
  shape: Shape,
): void {
  // Both places are walked in the same order, so the two walks can be joined by position.
  const offsets = new Int32Array(sizeOf(shape));
  forEachOffset(shape, fromStrides, (position, offset) => {
    offsets[position] = fromStart + offset;
  });
  forEachOffset(shape, toStrides, (position, offset) => {
    to[toStart + offset] = from[offsets[position] as number] as number;
  });
}

function startOffset(starts: readonly number[], strides: readonly number[]): number {
  return starts.reduce((sum, start, axis) => sum + start * (strides[axis] as number), 0);
}

export function transpose(
  memory: ReferenceMemory,
  x: ReferenceTensor,
  permutation: readonly number[],
): ReferenceTensor {
  const strides = stridesOf(x.shape);
  const shape = permutation.map((axis) => x.shape[axis] as number);
  const permuted = permutation.map((axis) => strides[axis] as number);
  return memory.makeRaw(shape, x.dtype, (out) => {
    const source = x.block.data;
    forEachOffset(shape, permuted, (position, offset) => {
      out[position] = source[offset] as number;
    });
  });
}

export function slice(
  memory: ReferenceMemory,
  x: ReferenceTensor,
  starts: readonly number[],
  sizes: Shape,
): ReferenceTensor {
  const strides = stridesOf(x.shape);
  const start = startOffset(starts, strides);
  return memory.makeRaw(sizes, x.dtype, (out) => {
    const source = x.block.data;
    forEachOffset(sizes, strides, (position, offset) => {
      out[position] = source[start + offset] as number;
    });
  });
}

export function concat(
  memory: ReferenceMemory,
  xs: readonly ReferenceTensor[],
  axis: number,
): ReferenceTensor {
  const first = xs[0] as ReferenceTensor;
  const extent = xs.reduce((sum, x) => sum + (x.shape[axis] as number), 0);
  const shape = first.shape.map((own, other) => (other === axis ? extent : own));
  const strides = stridesOf(shape);
  return memory.makeRaw(shape, first.dtype, (out) => {
    let start = 0;
    for (const x of xs) {
      moveBox(x.block.data, 0, stridesOf(x.shape), out, start * (strides[axis] as number), strides, x.shape);
      start += x.shape[axis] as number;
    }
  });
}

export function writeInto(
  memory: ReferenceMemory,
  dst: ReferenceTensor,
  x: ReferenceTensor,
  starts: readonly number[],
  exclusive: boolean,
): ReferenceTensor {
  const strides = stridesOf(dst.shape);
  const write = (out: TensorData): void =>
    moveBox(x.block.data, 0, stridesOf(x.shape), out, startOffset(starts, strides), strides, x.shape);
  // A reshaped view of dst would see the change, so a shared block is copied even if dst itself is given up.
  if (exclusive && dst.block.views === 1 && dst.block !== x.block) {
    write(dst.block.data);
    return memory.view(dst, dst.shape);
  }
  return memory.makeRaw(dst.shape, dst.dtype, (out) => {
    out.set(dst.block.data);
    write(out);
  });
}
