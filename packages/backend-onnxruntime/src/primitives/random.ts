import { philox4x32, philoxKey, type Shape, sizeOf } from '@topk-attention/core';

/**
 * Word 0 of Philox4x32-10 at every coordinate. Computed here and uploaded: the engine has no 32 x 32 -> 64 bit product,
 * and emulating one in the graph costs more nodes than the bits are worth.
 */
export function philoxBits(
  seed: number,
  offset: readonly [number, number, number, number],
  shape: Shape,
): Int32Array {
  const key = philoxKey(seed);
  const bits = new Int32Array(sizeOf(shape));
  const at = shape.map(() => 0);
  for (let index = 0; index < bits.length; index++) {
    const counter = [
      (offset[0] + (at[0] ?? 0)) >>> 0,
      (offset[1] + (at[1] ?? 0)) >>> 0,
      (offset[2] + (at[2] ?? 0)) >>> 0,
      (offset[3] + (at[3] ?? 0)) >>> 0,
    ] as const;
    bits[index] = philox4x32(counter, key)[0];
    for (let axis = at.length - 1; axis >= 0; axis--) {
      const next = (at[axis] as number) + 1;
      at[axis] = next < (shape[axis] as number) ? next : 0;
      if (at[axis] !== 0) break;
    }
  }
  return bits;
}
