import type { Activation } from '@topk-attention/core';

/**
 * WGSL of an activation function: `activated(x)` and its derivative `slope(x)`. NaN stays NaN because every value is a
 * product with x, or because relu decides on bits; arguments of exp are clamped so that no infinity arises on the way.
 */
export function activationText(activation: Activation): string {
  return texts[activation];
}

const ERF = `
/** Error function, within 1 ulp in each of two ranges (minimax polynomials). */
fn erf(x: f32) -> f32 {
  let t = min(abs(x), 4.0);
  let s = t * t;
  var far = fma(-1.72853470e-5, t, 3.83197126e-4);
  far = fma(far, s, fma(-3.88396438e-3, t, 2.42546219e-2));
  far = fma(far, t, -1.06777877e-1);
  far = fma(far, t, -6.34846687e-1);
  far = fma(far, t, -1.28717512e-1);
  far = 1.0 - exp(fma(far, t, -t));
  var near = fma(-5.96761703e-4, s, 4.99119423e-3);
  near = fma(near, s, -2.67681349e-2);
  near = fma(near, s, 1.12819925e-1);
  near = fma(near, s, -3.76125336e-1);
  near = fma(near, s, 1.28379166e-1);
  let size = select(fma(near, t, t), far, t > 0.927734375);
  return select(size, -size, x < 0.0);
}`;

const texts: Readonly<Record<Activation, string>> = {
  relu: `
fn isNegative(x: f32) -> bool {
  let bits = bitcast<u32>(x);
  return bits >= 0x80000000u && bits <= 0xff800000u;
}
fn activated(x: f32) -> f32 { return select(x, 0.0, isNegative(x)); }
fn slope(x: f32) -> f32 { return select(1.0, 0.0, isNegative(x) || bitcast<u32>(x) == 0u); }`,
  gelu: `${ERF}
fn probability(x: f32) -> f32 { return 0.5 + 0.5 * erf(x * 0.70710678); }
fn activated(x: f32) -> f32 { return x * 0.5 * (1.0 + erf(x * 0.70710678)); }
fn slope(x: f32) -> f32 {
  let near = clamp(x, -13.0, 13.0);
  return probability(x) + x * 0.39894228 * exp(-0.5 * near * near);
}`,
  gelu_tanh: `
fn bend(x: f32) -> f32 {
  let size = min(0.79788456 * abs(x + 0.044715 * x * x * x), 15.0);
  let t = 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
  return select(t, -t, x < 0.0);
}
fn activated(x: f32) -> f32 { return 0.5 * x * (1.0 + bend(x)); }
fn slope(x: f32) -> f32 {
  let t = bend(x);
  let near = clamp(x, -1.0e4, 1.0e4);
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * 0.79788456 * (1.0 + 0.134145 * near * near);
}`,
  silu: `
fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(-max(x, -88.0))); }
fn activated(x: f32) -> f32 { return x * sigmoid(x); }
fn slope(x: f32) -> f32 {
  let s = sigmoid(x);
  return s * (1.0 + x * (1.0 - s));
}`,
};
