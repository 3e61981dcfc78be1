import { type Shape, stridesOf } from '../contract/shape.js';
import { forEachOffset } from './layout.js';
import { numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

/** Folds the elements along `axes` in row-major order, from `initial`, in f64. */
function reduce(
  memory: ReferenceMemory,
  x: ReferenceTensor,
  axes: readonly number[],
  initial: number,
  fold: (soFar: number, value: number) => number,
): ReferenceTensor {
  const shape: Shape = x.shape.map((extent, axis) => (axes.includes(axis) ? 1 : extent));
  const strides = stridesOf(shape).map((stride, axis) => (axes.includes(axis) ? 0 : stride));
  const numbers = numbersOf(x);
  return memory.make(shape, x.dtype, (out) => {
    const folded = new Float64Array(out.length).fill(initial);
    forEachOffset(x.shape, strides, (position, offset) => {
      folded[offset] = fold(folded[offset] as number, numbers[position] as number);
    });
    for (let i = 0; i < out.length; i++) out[i] = folded[i] as number;
  });
}

export function sum(memory: ReferenceMemory, x: ReferenceTensor, axes: readonly number[]): ReferenceTensor {
  return reduce(memory, x, axes, 0, (soFar, value) => soFar + value);
}

export function max(memory: ReferenceMemory, x: ReferenceTensor, axes: readonly number[]): ReferenceTensor {
  return reduce(memory, x, axes, Number.NEGATIVE_INFINITY, Math.max);
}

/** A row of all -inf gives zeros, not NaN: a query that may see no key attends to nothing. */
export function softmax(memory: ReferenceMemory, x: ReferenceTensor): ReferenceTensor {
  const width = x.shape[x.shape.length - 1] as number;
  const numbers = numbersOf(x);
  return memory.make(x.shape, x.dtype, (out) => {
    for (let start = 0; start < out.length; start += width) {
      let largest = Number.NEGATIVE_INFINITY;
      for (let j = 0; j < width; j++) largest = Math.max(largest, numbers[start + j] as number);
      if (largest === Number.NEGATIVE_INFINITY) continue;
      let total = 0;
      for (let j = 0; j < width; j++) total += Math.exp((numbers[start + j] as number) - largest);
      // inf - inf is NaN, so a row that holds +inf or NaN has a NaN total.
      for (let j = 0; j < width; j++) {
        out[start + j] = Math.exp((numbers[start + j] as number) - largest) / total;
      }
    }
  });
}
