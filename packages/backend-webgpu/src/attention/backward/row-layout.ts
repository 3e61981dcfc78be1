/** Rows of numbers in a buffer as a shader reads them: by vectors of four where rows are a multiple of that. */
export interface RowLayout {
  readonly width: 1 | 4;
  readonly half: boolean;
}

/** The WGSL type of `width` numbers. */
export function vectorType(width: 1 | 4): string {
  return width === 4 ? 'vec4f' : 'f32';
}

/** A read-only binding and `load_<name>(at)`, where `at` counts vectors. */
export function rowBuffer(binding: number, name: string, { width, half }: RowLayout): string {
  const stored = half ? (width === 4 ? 'vec2u' : 'u32') : vectorType(width);
  const element = half
    ? width === 4
      ? `vec4f(unpack2x16float(${name}[at].x), unpack2x16float(${name}[at].y))`
      : `unpack2x16float(${name}[at / 2u])[at % 2u]`
    : `${name}[at]`;
  return `
@group(0) @binding(${binding}) var<storage, read> ${name}: array<${stored}>;
fn load_${name}(at: u32) -> ${vectorType(width)} { return ${element}; }`;
}

/** `inner(a, b)` of two vectors. */
export function innerProduct(width: 1 | 4): string {
  const type = vectorType(width);
  return `fn inner(a: ${type}, b: ${type}) -> f32 { return ${width === 4 ? 'dot(a, b)' : 'a * b'}; }`;
}

/** NaN from bits that are no constant expression, and the scores that make a row NaN. */
export const notNumbers = `
fn nan() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}`;
