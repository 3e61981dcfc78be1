/** IEEE 754 binary16 <-> double, on the bits. Public f16 data is a Uint16Array of these bits. */

/** The scale of normal halves by their exponent's bits. To look it up is faster than a power. */
const scales = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (exponent - 15));
/** The step of subnormal halves. */
const STEP = 2 ** -24;
/** One over the step of halves, by their exponent less that of the smallest normal one. */
const inverseSteps = Float64Array.from({ length: 30 }, (_, exponent) => 2 ** (24 - exponent));

/** Exact: every half is a double. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  if (exponent === 0) return sign * fraction * STEP;
  return sign * (1 + fraction / 1024) * (scales[exponent] as number);
}

const number = new Float64Array(1);
const words = new Uint32Array(number.buffer);
/** Which word of a double has its sign and exponent: they lie in the order of the machine. */
const HIGH = new Uint32Array(Float64Array.of(1).buffer)[1] === 0 ? 0 : 1;
/** Added and subtracted again, it leaves a whole number: the nearest one, halfway cases to even. */
const WHOLE = 2 ** 52;

/** Nearest half, halfway cases to even, straight from the double: no second rounding through f32. */
export function numberToHalf(x: number): number {
  if (Number.isNaN(x)) return 0x7e00;
  number[0] = x;
  const high = words[HIGH] as number;
  const sign = (high >>> 16) & 0x8000;
  // 0 for the smallest normal numbers, and for all below.
  const exponent = Math.max(0, ((high >>> 20) & 0x7ff) - 1023 + 14);
  if (exponent > 29) return sign | 0x7c00;
  // 1,024 steps and more are a normal number. A carry, also into infinity, yields the right bits automatically.
  const steps = Math.abs(x) * (inverseSteps[exponent] as number) + WHOLE - WHOLE;
  return sign | ((exponent << 10) + steps);
}
