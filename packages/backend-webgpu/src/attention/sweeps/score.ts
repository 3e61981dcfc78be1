/**
 * `score_quad(dots, row, keys)`: scores of four keys of a row. Needs `rowAt` and, with a relative bias,
 * `relative_bias`. All sweeps share this one definition of a score: equal inputs, equal bits.
 */
export function scoreQuad(relativeBias: boolean): string {
  return relativeBias
    ? `
fn score_quad(dots: vec4f, row: Row, keys: vec4u) -> vec4f {
  let last = vec4u(params.key_length - 1u);
  let at = min(keys, last);
  let added = vec4f(
    relative_bias(row, at.x), relative_bias(row, at.y), relative_bias(row, at.z), relative_bias(row, at.w),
  );
  return fma(vec4f(params.scale), dots, added);
}`
    : `
fn score_quad(dots: vec4f, row: Row, keys: vec4u) -> vec4f {
  return params.scale * dots;
}`;
}
