/** IEEE 754 binary16 <-> double, on the bits. Public f16 data is a Uint16Array of these bits. */

/** The scale of normal halves by their exponent's bits. To look it up is faster than a power. */
const scales = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (exponent - 15));
/** The step of subnormal halves, and the smallest normal one. */
const [STEP, SMALLEST_NORMAL] = [2 ** -24, 2 ** -14];

/** Exact: every half is a double. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * STEP;
  return sign * (1 + fraction / 1024) * (scales[exponent] as number);
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
  // Multiples of the step are the subnormals; a carry into the smallest normal number yields its bits automatically.
  if (magnitude < SMALLEST_NORMAL) return sign | roundToEven(magnitude / STEP);
  let exponent = 1;
  let scale = SMALLEST_NORMAL;
  while (magnitude >= 2 * scale) {
    scale *= 2;
    exponent++;
  }
  const fraction = roundToEven((magnitude / scale - 1) * 1024);
  return sign | ((exponent << 10) + fraction);
}
