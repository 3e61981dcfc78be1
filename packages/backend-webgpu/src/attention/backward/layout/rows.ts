import { floatClasses } from '../../../wgsl/numbers.js';

/**
 * Rows of numbers in a buffer as a shader reads them: in vectors of four where the row length is a multiple of four.
 */
export interface RowLayout {
  readonly width: 1 | 4;
  readonly half: boolean;
}

/** The WGSL type of `width` numbers. */
export function vectorType(width: 1 | 4): string {
  return width === 4 ? 'vec4f' : 'f32';
}

/** Element type of a buffer of rows. */
export function storedType({ width, half }: RowLayout): string {
  return half ? (width === 4 ? 'vec2u' : 'u32') : vectorType(width);
}

/** `load_<name>(at)` of a buffer of `storedType`, where `at` counts vectors. */
export function loadRow(name: string, { width, half }: RowLayout): string {
  const element = half
    ? width === 4
      ? `vec4f(unpack2x16float(${name}[at].x), unpack2x16float(${name}[at].y))`
      : `unpack2x16float(${name}[at / 2u])[at % 2u]`
    : `${name}[at]`;
  return `fn load_${name}(at: u32) -> ${vectorType(width)} { return ${element}; }`;
}

/** Where the data of a buffer begins, in vectors. */
export function baseOf(name: string, { width }: Pick<RowLayout, 'width'>): string {
  return width === 4 ? `params.${name}_base / 4u` : `params.${name}_base`;
}

/** `inner(a, b)` of two vectors. */
export function innerProduct(width: 1 | 4): string {
  const type = vectorType(width);
  return `fn inner(a: ${type}, b: ${type}) -> f32 { return ${width === 4 ? 'dot(a, b)' : 'a * b'}; }`;
}

/** NaN from bits that are not a constant expression, and the scores that make a row NaN. */
export const notNumbers: string = `
fn nan() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }
${floatClasses}`;

/** The smallest power of two that is at least `least`. */
export function powerOfTwo(least: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(least)));
}
