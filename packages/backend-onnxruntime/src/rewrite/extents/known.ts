import { sizeOf, stridesOf } from '@topk-attention/core/backend';

/** What is known of a value when the inputs of a model have given extents. */
export interface Known {
  /** One of `dataTypes`; 0 if unknown. */
  readonly type: number;
  readonly dims: readonly number[];
  /** Elements in row-major order, of short values that shapes are made of. */
  readonly values?: readonly number[];
}

/** Longer values are known by their extents alone. */
export const MOST_VALUES = 4096;

/** Values of more axes are not known: hostile files make axes faster than they have bytes. */
export const MOST_AXES = 64;

/** Why a value is not known. Thrown by the rules and caught where they are called. */
export class Unknown extends Error {}

/** Extents of two operands that must be the same and are not. */
export class Conflict extends Unknown {
  readonly extents: readonly [number, number];

  constructor(one: number, other: number) {
    super(`extents ${one} and ${other} do not go together`);
    this.extents = [one, other];
  }
}

/** An axis counted from the left; `rank` is the axis after the last where that is allowed. */
export function axisOf(axis: number, rank: number): number {
  const positive = axis < 0 ? axis + rank : axis;
  if (!Number.isSafeInteger(positive) || positive < 0 || positive > rank)
    throw new Unknown(`axis ${axis} of ${rank}`);
  return positive;
}

/** Extents of elementwise operands together, aligned at the last axis. */
export function broadcast(operands: readonly (readonly number[])[]): readonly number[] {
  const rank = operands.reduce((most, { length }) => Math.max(most, length), 0);
  return Array.from({ length: rank }, (_, axis) => {
    let extent = 1;
    for (const dims of operands) {
      const one = dims[axis - rank + dims.length] ?? 1;
      if (one === 1 || one === extent) continue;
      if (extent !== 1) throw new Conflict(extent, one);
      extent = one;
    }
    return extent;
  });
}

/** Extents with another one at an axis, which may count from the right. */
export function withExtent(dims: readonly number[], axis: number, extent: number): readonly number[] {
  const place = axis < 0 ? axis + dims.length : axis;
  return dims.map((one, at) => (at === place ? extent : one));
}

/** Calls `visit` with the coordinates of every element, in row-major order. */
export function eachPlace(dims: readonly number[], visit: (place: readonly number[]) => void): void {
  const place = dims.map(() => 0);
  for (let left = sizeOf(dims); left > 0; left--) {
    visit(place);
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      place[axis] = (place[axis] as number) + 1;
      if ((place[axis] as number) < (dims[axis] as number)) break;
      place[axis] = 0;
    }
  }
}

/** The elements of an operand for every element of the extents that it is broadcast to. */
export function broadcastValues({ dims, values = [] }: Known, to: readonly number[]): readonly number[] {
  const size = sizeOf(to);
  // As many elements in the same order, or one for all: most operands of shape arithmetic.
  if (values.length === size && sizeOf(dims) === size) return values;
  if (values.length === 1) return new Array<number>(size).fill(values[0] as number);
  const strides = stridesOf(dims);
  const shift = to.length - dims.length;
  const all: number[] = [];
  eachPlace(to, (place) => {
    let at = 0;
    for (const [axis, extent] of dims.entries()) {
      if (extent !== 1) at += (place[axis + shift] as number) * (strides[axis] as number);
    }
    all.push(values[at] as number);
  });
  return all;
}
