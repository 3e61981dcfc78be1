import { KEY_EXPONENT } from './error-bound.js';

/**
 * `largest_of(four)`, and `factor_of(largest)`: the factor that brings numbers of that magnitude to the exponent of
 * packed keys.
 */
export const magnitudes: string = `
const INF_BITS = 0x7f800000u;
/** The largest magnitude of four elements as bits; infinities and NaN are larger than any finite number. */
fn largest_of(x: vec4f) -> u32 {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffffu);
  return max(max(bits.x, bits.y), max(bits.z, bits.w));
}
/** 2^(KEY_EXPONENT - e) for the e of a largest magnitude, where that is a normal number. */
fn factor_of(largest: u32) -> f32 {
  let exponent = clamp(254 + ${KEY_EXPONENT} - i32(largest >> 23u), 1, 254);
  return select(bitcast<f32>(u32(exponent) << 23u), 1.0, largest == 0u);
}`;
