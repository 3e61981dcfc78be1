/** A half-precision number from its bits. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const part = (bits & 0x3ff) / 1024;
  if (exponent === 0x1f) return part === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? part * 2 ** -14 : (1 + part) * 2 ** (exponent - 15));
}

/** The bits of a number between -2 and 2, rounded towards zero. */
export function numberToHalf(value: number): number {
  // Half precision has the bias of its exponents at 15 where single precision has 127.
  const bits = new DataView(Float32Array.of(value * 2 ** -112).buffer).getUint32(0, true);
  return ((bits >>> 16) & 0x8000) | ((bits >>> 13) & 0x7fff);
}
