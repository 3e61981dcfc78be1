/** IEEE 754 binary16 <-> double, on the bits. Public f16 data is a Uint16Array of these bits. */

/** Exact: every half is a double. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Rounds a whole multiple to the nearest whole number, halfway cases to the even one. */
function roundToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest < 0.5) return floor;
  if (rest > 0.5) return floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Nearest half, halfway cases to even, straight from the double: no second rounding through f32. */
export function numberToHalf(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  // 65520 lies halfway between the largest half, 65504, and the next step, which is infinity.
  if (magnitude >= 65520) return sign | 0x7c00;
  // Multiples of 2^-24 are the subnormals; a carry into 2^-14 yields the right normal number automatically.
  if (magnitude < 2 ** -14) return sign | roundToEven(magnitude * 2 ** 24);
  let exponent = -14;
  while (magnitude >= 2 ** (exponent + 1)) exponent++;
  const fraction = roundToEven((magnitude / 2 ** exponent - 1) * 1024);
  return sign | (((exponent + 15) << 10) + fraction);
}
