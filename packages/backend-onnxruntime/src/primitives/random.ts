import { type Shape, sizeOf } from '@topk-attention/core';

const ROUNDS = 10;
const MULTIPLIER_0 = 0xd2511f53;
const MULTIPLIER_1 = 0xcd9e8d57;
const WEYL_0 = 0x9e3779b9;
const WEYL_1 = 0xbb67ae85;

/**
 * Word 0 of Philox4x32-10 at every coordinate. Computed here and uploaded: the engine has no 32 x 32 -> 64 bit product,
 * and emulating one in the graph costs more nodes than the bits are worth.
 */
export function philoxBits(
  seed: number,
  offset: readonly [number, number, number, number],
  shape: Shape,
): Int32Array {
  const low = seed >>> 0;
  const high = Math.floor(seed / 2 ** 32) >>> 0;
  const bits = new Int32Array(sizeOf(shape));
  const at = shape.map(() => 0);
  for (let index = 0; index < bits.length; index++) {
    bits[index] = word(
      (offset[0] + (at[0] ?? 0)) >>> 0,
      (offset[1] + (at[1] ?? 0)) >>> 0,
      (offset[2] + (at[2] ?? 0)) >>> 0,
      (offset[3] + (at[3] ?? 0)) >>> 0,
      low,
      high,
    );
    for (let axis = at.length - 1; axis >= 0; axis--) {
      const next = (at[axis] as number) + 1;
      at[axis] = next < (shape[axis] as number) ? next : 0;
      if (at[axis] !== 0) break;
    }
  }
  return bits;
}

function word(x0: number, x1: number, x2: number, x3: number, low: number, high: number): number {
  let [c0, c1, c2, c3, k0, k1] = [x0, x1, x2, x3, low, high];
  for (let round = 0; round < ROUNDS; round++) {
    const high0 = multiplyHigh(MULTIPLIER_0, c0);
    const high1 = multiplyHigh(MULTIPLIER_1, c2);
    const low0 = Math.imul(MULTIPLIER_0, c0) >>> 0;
    const low1 = Math.imul(MULTIPLIER_1, c2) >>> 0;
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c1 = low1;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c3 = low0;
    k0 = (k0 + WEYL_0) >>> 0;
    k1 = (k1 + WEYL_1) >>> 0;
  }
  return c0 | 0;
}

/** Upper 32 bits of an unsigned product, by halves: doubles hold 53 bits. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16);
  const carry = (middle % 0x10000) + aLow * bHigh;
  return aHigh * bHigh + Math.floor(middle / 0x10000) + Math.floor(carry / 0x10000);
}
