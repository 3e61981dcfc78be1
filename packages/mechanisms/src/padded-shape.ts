import type { Shape } from '@topk-attention/core';

/** A shape of that rank, with leading extents of 1. */
export function paddedShape(shape: Shape, rank: number): Shape {
  return [...new Array<number>(Math.max(0, rank - shape.length)).fill(1), ...shape];
}
