import type { Shape } from '@topk-attention/core';
import { stridesOf } from '@topk-attention/core/backend';

/** A box of elements, walked in row-major order, and how far each step along an axis moves in each of several tensors. */
export interface Walk {
  readonly extents: readonly number[];
  /** In elements; one list per tensor, one entry per axis. */
  readonly strides: readonly (readonly number[])[];
}

/**
 * The same walk with as few axes as possible: drops axes of extent 1, joins neighbours that all tensors step through
 * evenly.
 */
export function collapse({ extents, strides }: Walk): Walk {
  const joined: number[] = [];
  const steps: number[][] = strides.map(() => []);
  for (let axis = extents.length - 1; axis >= 0; axis--) {
    const extent = extents[axis] as number;
    if (extent === 1) continue;
    const inner = joined[0];
    const joins =
      inner !== undefined &&
      strides.every((own, tensor) => (own[axis] as number) === inner * (steps[tensor]?.[0] as number));
    if (joins) {
      joined[0] = inner * extent;
      continue;
    }
    joined.unshift(extent);
    for (const [tensor, own] of strides.entries()) steps[tensor]?.unshift(own[axis] as number);
  }
  return { extents: joined, strides: steps };
}

/** Strides that make a tensor read as if it had the shape `target`: 0 where an extent of 1 is repeated. */
export function broadcastStrides(shape: Shape, target: Shape): number[] {
  const own = stridesOf(shape);
  return target.map((_, axis) => {
    const ownAxis = axis - target.length + shape.length;
    return ownAxis < 0 || shape[ownAxis] === 1 ? 0 : (own[ownAxis] as number);
  });
}
