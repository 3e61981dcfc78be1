import { TopKError } from './errors.js';

export type Shape = readonly number[];

/** Number of elements; 1 for rank 0. */
export function sizeOf(shape: Shape): number {
  let size = 1;
  for (const extent of shape) size *= extent;
  return size;
}

export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((extent, axis) => extent === b[axis]);
}

export function formatShape(shape: Shape): string {
  return `[${shape.join(', ')}]`;
}

/** Throws unless every extent is a non-negative safe integer. */
export function checkShape(where: string, shape: Shape): void {
  if (Array.isArray(shape) && shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: bad shape`, {
    expected: 'an array of non-negative whole numbers',
    got: Array.isArray(shape) ? formatShape(shape) : String(shape),
  });
}

/** The common shape of NumPy broadcasting; throws where two extents differ and neither is 1. */
export function broadcastShapes(where: string, ...shapes: readonly Shape[]): Shape {
  const rank = Math.max(...shapes.map((shape) => shape.length));
  const result: number[] = [];
  for (let axis = 0; axis < rank; axis++) {
    let extent = 1;
    for (const shape of shapes) {
      const own = shape[axis - rank + shape.length] ?? 1;
      if (own === 1 || own === extent) continue;
      if (extent !== 1) {
        throw new TopKError('SHAPE_MISMATCH', `${where}: shapes do not broadcast`, {
          expected: 'extents that are equal or 1',
          got: shapes.map(formatShape).join(' and '),
        });
      }
      extent = own;
    }
    result.push(extent);
  }
  return result;
}

/** Resolves negative axes and checks the range. */
export function normalizeAxis(where: string, axis: number, rank: number): number {
  const resolved = axis < 0 ? axis + rank : axis;
  if (Number.isInteger(resolved) && resolved >= 0 && resolved < rank) return resolved;
  throw new TopKError('INVALID_OPTION', `${where}: axis out of range`, {
    expected: `a whole number from ${-rank} to ${rank - 1}`,
    got: String(axis),
  });
}

/** Row-major strides in elements. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis] as number;
  }
  return strides;
}
