import type { DType } from '../contract/dtype.js';
import type { BinaryOp, CompareOp, UnaryOp } from '../contract/op-names.js';
import { broadcastShapes, type Shape, sameShape, stridesOf } from '../contract/shape.js';
import { erf } from './erf.js';
import { forEachOffset } from './layout.js';
import { numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

const unaryFunctions: Readonly<Record<UnaryOp, (x: number) => number>> = {
  neg: (x) => -x,
  abs: Math.abs,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  rsqrt: (x) => 1 / Math.sqrt(x),
  tanh: Math.tanh,
  erf,
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
};

const floatFunctions: Readonly<Record<BinaryOp, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  min: Math.min,
  max: Math.max,
};

/** 32-bit integers wrap around; the product needs more bits than a double has. */
const integerFunctions: Readonly<Record<BinaryOp, (a: number, b: number) => number>> = {
  ...floatFunctions,
  mul: Math.imul,
  div: (a, b) => Math.trunc(a / b),
};

const compareFunctions: Readonly<Record<CompareOp, (a: number, b: number) => boolean>> = {
  eq: (a, b) => a === b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
};

/** Strides with which `x` is read as if it had the shape `target`: 0 where an extent of 1 is repeated. */
function broadcastStrides(x: Shape, target: Shape): number[] {
  const own = stridesOf(x);
  return target.map((_, axis) => {
    const ownAxis = axis - target.length + x.length;
    return ownAxis < 0 || x[ownAxis] === 1 ? 0 : (own[ownAxis] as number);
  });
}

/** For each element of `target`, its offset in `x`; null when all offsets are the same as in `target`. */
function sourceOffsets(x: Shape, target: Shape): Int32Array | null {
  if (sameShape(x, target)) return null;
  const offsets = new Int32Array(target.reduce((size, extent) => size * extent, 1));
  const size = x.reduce((all, extent) => all * extent, 1);
  // One number for all: every offset is 0.
  if (size === 1) return offsets;
  // A row for every row, such as a bias.
  if (sameShape(x, target.slice(target.length - x.length))) {
    for (let i = 0; i < offsets.length; i++) offsets[i] = i % size;
    return offsets;
  }
  forEachOffset(target, broadcastStrides(x, target), (position, offset) => {
    offsets[position] = offset;
  });
  return offsets;
}

/** Computes each element of the result from one element of each operand, broadcast to a common shape. */
function zip(
  memory: ReferenceMemory,
  dtype: DType,
  a: ReferenceTensor,
  b: ReferenceTensor,
  apply: (a: number, b: number) => number,
): ReferenceTensor {
  const shape = broadcastShapes('reference backend', a.shape, b.shape);
  const aOffsets = sourceOffsets(a.shape, shape);
  const bOffsets = sourceOffsets(b.shape, shape);
  const aNumbers = numbersOf(a);
  const bNumbers = numbersOf(b);
  return memory.make(shape, dtype, (out) => {
    for (let i = 0; i < out.length; i++) {
      const aValue = aNumbers[aOffsets === null ? i : (aOffsets[i] as number)] as number;
      const bValue = bNumbers[bOffsets === null ? i : (bOffsets[i] as number)] as number;
      out[i] = apply(aValue, bValue);
    }
  });
}

/** Computes each element of the result from one element of x. */
export function map(
  memory: ReferenceMemory,
  dtype: DType,
  x: ReferenceTensor,
  apply: (x: number) => number,
): ReferenceTensor {
  const numbers = numbersOf(x);
  return memory.make(x.shape, dtype, (out) => {
    for (let i = 0; i < out.length; i++) out[i] = apply(numbers[i] as number);
  });
}

export function unary(memory: ReferenceMemory, op: UnaryOp, x: ReferenceTensor): ReferenceTensor {
  return map(memory, x.dtype, x, unaryFunctions[op]);
}

export function binary(
  memory: ReferenceMemory,
  op: BinaryOp,
  a: ReferenceTensor,
  b: ReferenceTensor,
): ReferenceTensor {
  const functions = a.dtype === 'i32' ? integerFunctions : floatFunctions;
  return zip(memory, a.dtype, a, b, functions[op]);
}

export function compare(
  memory: ReferenceMemory,
  op: CompareOp,
  a: ReferenceTensor,
  b: ReferenceTensor,
): ReferenceTensor {
  const holds = compareFunctions[op];
  return zip(memory, 'bool', a, b, (aValue, bValue) => (holds(aValue, bValue) ? 1 : 0));
}

export function logicalAnd(memory: ReferenceMemory, a: ReferenceTensor, b: ReferenceTensor): ReferenceTensor {
  return zip(memory, 'bool', a, b, (aValue, bValue) => (aValue !== 0 && bValue !== 0 ? 1 : 0));
}

export function where(
  memory: ReferenceMemory,
  condition: ReferenceTensor,
  a: ReferenceTensor,
  b: ReferenceTensor,
): ReferenceTensor {
  const shape = broadcastShapes('reference backend', condition.shape, a.shape, b.shape);
  const conditionOffsets = sourceOffsets(condition.shape, shape);
  const aOffsets = sourceOffsets(a.shape, shape);
  const bOffsets = sourceOffsets(b.shape, shape);
  // Stored values are moved as they are: a chosen NaN or f16 keeps its bits.
  return memory.makeRaw(shape, a.dtype, (out) => {
    for (let i = 0; i < out.length; i++) {
      const takesA =
        condition.block.data[conditionOffsets === null ? i : (conditionOffsets[i] as number)] !== 0;
      const offsets = takesA ? aOffsets : bOffsets;
      const source = (takesA ? a : b).block.data;
      out[i] = source[offsets === null ? i : (offsets[i] as number)] as number;
    }
  });
}

export function cast(memory: ReferenceMemory, x: ReferenceTensor, dtype: DType): ReferenceTensor {
  // Assignment to an Int32Array truncates towards zero; a Uint8Array would wrap, so bool is decided here.
  return map(memory, dtype, x, dtype === 'bool' ? (value) => (value !== 0 ? 1 : 0) : (value) => value);
}
