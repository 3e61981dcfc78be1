import { erfRanges } from '../wgsl/erf.js';
import { halfOf, orderedKey32 } from '../wgsl/numbers.js';

/** f16 bits to f32 bits, exact, subnormals too (which `unpack2x16float` may flush). */
const halfToBits = `
fn half_to_bits(half: u32) -> u32 {
  let sign = (half & 0x8000u) << 16u;
  let magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) { return sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13u); }
  if (magnitude < 0x400u) { return sign | bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8); }
  return sign | ((magnitude << 13u) + 0x38000000u);
}`;

const isNaN = `
fn is_nan(bits: u32) -> bool { return (bits & 0x7fffffffu) > 0x7f800000u; }`;

/** By branches: of a NaN, `min` and `max` may be a number. */
const erf = `${erfRanges}
fn erf_of(x: f32) -> f32 {
  let a = abs(x);
  if (a > 4.0) { return sign(x); }
  if (a <= ERF_NEAR) { return erf_near(x); }
  return sign(x) * erf_far(a);
}`;

const tanh = `
fn tanh_of(x: f32) -> f32 {
  let a = abs(x);
  if (a < 0.25) {
    let s = x * x;
    return x * (1.0 + s * (-0.33333333 + s * (0.13333333 + s * (-0.053968254 + s * 0.021869488))));
  }
  if (a > 20.0) { return sign(x); }
  let t = exp(-2.0 * a);
  return sign(x) * (1.0 - t) / (1.0 + t);
}`;

const sigmoid = `
fn sigmoid_of(x: f32) -> f32 {
  let t = exp(-min(abs(x), 100.0));
  return select(t, 1.0, x >= 0.0) / (1.0 + t);
}`;

/** Functions for shaders; NaN and infinities are detected on bits, because compilers may assume that neither occurs. */
export type Helper = 'halfToBits' | 'halfOf' | 'isNaN' | 'key' | 'erf' | 'tanh' | 'sigmoid';

const helpers: Readonly<Record<Helper, string>> = {
  halfToBits,
  halfOf,
  isNaN,
  key: orderedKey32,
  erf,
  tanh,
  sigmoid,
};

/** The text of the helpers, each once. */
export function helperText(names: readonly Helper[]): string {
  return Array.from(new Set(names), (name) => helpers[name]).join('');
}
