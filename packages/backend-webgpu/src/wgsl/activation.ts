import type { Activation } from '@topk-attention/core';
import { erfRanges } from './erf.js';

/**
 * WGSL of an activation function: `activated(x)` and its derivative `slope(x)`. NaN stays NaN because every value is a
 * product with x, or because relu decides on bits; arguments of exp are clamped so that no infinity arises on the way.
 */
export function activationText(activation: Activation): string {
  return texts[activation];
}

const ERF = `${erfRanges}
fn erf(x: f32) -> f32 {
  let t = min(abs(x), 4.0);
  let size = select(erf_near(t), erf_far(t), t > ERF_NEAR);
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
