/**
 * Numbers handled by their bits, for shaders. Compilers may assume that no NaN and no infinity occurs, so whatever
 * depends on them is decided here on u32.
 */

/** On the bits of an f32: `MINUS_INF_BITS`, and `is_nan_or_plus_inf(bits)`. */
export const floatClasses = `
const MINUS_INF_BITS = 0xff800000u;
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}`;

/** `key_of(bits of an f32)`: unsigned keys in the order of the numbers; -0 ties with 0. */
export const orderedKey32 = `
fn key_of(bits: u32) -> u32 {
  if (bits == 0x80000000u) { return 0x80000000u; }
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}`;

/** `key_of(bits of an f16)`: the same in the upper 16 bits. */
export const orderedKey16 = `
fn key_of(half: u32) -> u32 {
  if (half == 0x8000u) { return 0x80000000u; }
  return (half ^ select(0x8000u, 0xffffu, (half & 0x8000u) != 0u)) << 16u;
}`;

/**
 * `half_of(f32) -> u32`: the nearest f16, halfway cases to the even one, above 65,504 + 16 infinity. `pack2x16float`
 * leaves both the direction and the overflow to the device.
 */
export const halfOf = `
fn half_of(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let sign = (bits >> 16u) & 0x8000u;
  let magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) { return 0x7e00u; }
  if (magnitude >= 0x477ff000u) { return sign | 0x7c00u; }
  if (magnitude < 0x38800000u) {
    // A unit in the last place of 0.5 is the step of f16's subnormals.
    return sign | (bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u);
  }
  return sign | ((magnitude + 0xfffu + ((magnitude >> 13u) & 1u) - 0x38000000u) >> 13u);
}`;

/** `halves_of(low, high) -> u32`: a word of two f16; includes `half_of`. */
export const halvesOf: string = `${halfOf}
fn halves_of(low: f32, high: f32) -> u32 { return half_of(low) | (half_of(high) << 16u); }`;

/** `load_<name>(element)`: the bits of an element of the u32 array `name`: of 32 bits, or of 16. */
export function loadBits(name: string, half: boolean): string {
  const bits = half ? `(${name}[at / 2u] >> (16u * (at % 2u))) & 0xffffu` : `${name}[at]`;
  return `fn load_${name}(at: u32) -> u32 { return ${bits}; }`;
}

/** `load_<name>(element)`: the element of the u32 array `name` as f32. */
export function loadFloat(name: string, half: boolean): string {
  const value = half ? `unpack2x16float(${name}[at / 2u])[at % 2u]` : `bitcast<f32>(${name}[at])`;
  return `fn load_${name}(at: u32) -> f32 { return ${value}; }`;
}

/**
 * `store_<name>(element, bits)`. Rows of f16 may share a word, so words of halves are cleared beforehand and or-ed
 * into, which gives the same bits in any order.
 */
export function storeBits(name: string, half: boolean): string {
  return half
    ? `fn store_${name}(at: u32, bits: u32) { atomicOr(&${name}[at / 2u], bits << (16u * (at % 2u))); }`
    : `fn store_${name}(at: u32, bits: u32) { ${name}[at] = bits; }`;
}

/** Element type of a buffer that `storeBits` writes. */
export function storedElement(half: boolean): string {
  return half ? 'atomic<u32>' : 'u32';
}
