/**
 * The error function in two ranges, each within 1 ulp of f32 before rounding (minimax polynomials): `erf_near(x)` up to
 * `ERF_NEAR` in magnitude, `erf_far(x)` from there to 4; beyond 4 it rounds to 1.
 */
export const erfRanges = `
const ERF_NEAR = 0.927734375;
fn erf_near(x: f32) -> f32 {
  let s = x * x;
  var near = fma(-5.96761703e-4, s, 4.99119423e-3);
  near = fma(near, s, -2.67681349e-2);
  near = fma(near, s, 1.12819925e-1);
  near = fma(near, s, -3.76125336e-1);
  near = fma(near, s, 1.28379166e-1);
  return fma(near, x, x);
}
fn erf_far(x: f32) -> f32 {
  var far = fma(-1.72853470e-5, x, 3.83197126e-4);
  far = fma(far, x * x, fma(-3.88396438e-3, x, 2.42546219e-2));
  far = fma(far, x, -1.06777877e-1);
  far = fma(far, x, -6.34846687e-1);
  far = fma(far, x, -1.28717512e-1);
  return 1.0 - exp(fma(far, x, -x));
}`;
