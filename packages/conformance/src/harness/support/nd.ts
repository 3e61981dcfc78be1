import type { Shape } from '@topk-attention/core';

/** A plain array of numbers with a shape: the form of expected values. */
export interface Nd {
  readonly shape: Shape;
  readonly data: readonly number[];
}

/** Every element from its coordinates (and its row-major position). */
export function nd(shape: Shape, valueAt: (coordinates: number[], position: number) => number): Nd {
  const data = Array.from({ length: sizeOf(shape) }, (_, position) => {
    const coordinates = new Array<number>(shape.length).fill(0);
    let rest = position;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      coordinates[axis] = rest % (shape[axis] as number);
      rest = Math.floor(rest / (shape[axis] as number));
    }
    return valueAt(coordinates, position);
  });
  return { shape, data };
}

/** The element at the coordinates; extents of 1 repeat and missing leading axes are ignored, as NumPy broadcasts. */
export function at(x: Nd, coordinates: readonly number[]): number {
  const skipped = coordinates.length - x.shape.length;
  let position = 0;
  x.shape.forEach((extent, axis) => {
    position = position * extent + (extent === 1 ? 0 : (coordinates[axis + skipped] as number));
  });
  return x.data[position] as number;
}

export function list(...data: readonly number[]): Nd {
  return { shape: [data.length], data };
}

export function matrix(...rows: readonly (readonly number[])[]): Nd {
  return { shape: [rows.length, rows[0]?.length ?? 0], data: rows.flat() };
}

/** All coordinates of a shape in row-major order. */
export function eachCoordinate(shape: Shape): number[][] {
  const all: number[][] = [];
  nd(shape, (coordinates) => {
    all.push(coordinates);
    return 0;
  });
  return all;
}

/** Number of elements. */
export function sizeOf(shape: Shape): number {
  return shape.reduce((size, extent) => size * extent, 1);
}
