import { loadFloat } from '../wgsl/numbers.js';
import { times } from '../wgsl/text.js';
import {
  type EpilogueParts,
  epilogueKey,
  finishText,
  isEmptyEpilogue,
  NO_EPILOGUE,
} from './matmul-epilogue.js';
import type { Operand } from './matmul-product.js';

/** How a shader reads an operand: with `along`, neighbours in memory lie along the result instead of along the sums. */
export interface Loader {
  readonly name: 'a' | 'b';
  readonly half: boolean;
  readonly along: boolean;
  /** Four neighbours can be read at once. */
  readonly vec: boolean;
  /** See `Product.safeFactor`; defines `safe_b` too. Default false. */
  readonly safe?: boolean;
  /** The buffer, with `vec`. Default: `name`. */
  readonly array?: string;
  /** Ends the names of functions and uniforms, where a kernel has several products. Default ''. */
  readonly of?: string;
}

/** `safe_b(four)`: see `Product.safeFactor`; `of` as in `Loader`. */
export function safeText(of = ''): string {
  return `fn safe_b${of}(four: vec4f) -> vec4f {
  let exponents = bitcast<vec4u>(four) & vec4u(0x7f800000u);
  return select(params.b_factor${of} * four, vec4f(), exponents == vec4u(0x7f800000u));
}`;
}

/** How a product is read and written. `vec*`: four neighbours of the operand can be read (written) at once. */
export interface ProductForm {
  readonly half: boolean;
  readonly halfOut: boolean;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
  readonly vecA: boolean;
  readonly vecB: boolean;
  readonly vecOut: boolean;
  readonly adds: boolean;
  /** See `Product.safeFactor`. */
  readonly safe: boolean;
  readonly epilogue: EpilogueParts;
}

/** For a kernel's key. */
export function formKey(form: ProductForm): string {
  const { half, halfOut, transposeA, transposeB, vecA, vecB, vecOut, adds, safe, epilogue } = form;
  const layout = `${transposeA ? ' aT' : ''}${transposeB ? ' bT' : ''}${vecA ? ' va' : ''}${vecB ? ' vb' : ''}${vecOut ? ' vo' : ''}`;
  return `${half ? 'f16' : 'f32'}${halfOut ? ' to f16' : ''}${layout}${safe ? ' safe' : ''}${adds ? ' adds' : ''}${epilogueKey(epilogue)}`;
}

/** Element type of the array that a loader reads. */
export function inputType(half: boolean, vec: boolean): string {
  if (half) return vec ? 'vec2u' : 'u32';
  return vec ? 'vec4f' : 'f32';
}

/** Element type of the array that a writer writes. */
export function outputType(half: boolean, vec: boolean): string {
  if (half) return vec ? 'vec2u' : 'atomic<u32>';
  return vec ? 'vec4f' : 'f32';
}

/**
 * `fetch_<name>(start, line, place)`: four neighbours of a line of the operand, 0 beyond its edges. Vectors, and no
 * branches: so loads need not wait for each other.
 */
export function loader({ name, half, along, vec, safe = false, array = name, of = '' }: Loader): string {
  const across = `${name === 'a' ? 'params.rows' : 'params.columns'}${of}`;
  const inner = `params.inner${of}`;
  const [lines, length] = along ? [inner, across] : [across, inner];
  const head = `${safe ? `${safeText(of)}\n` : ''}fn fetch_${name}${of}(start: u32, line: u32, place: u32) -> vec4f`;
  const at = `start + line * params.${name}_stride${of} + place`;
  if (vec) {
    const own = half ? 'vec4f(unpack2x16float(found.x), unpack2x16float(found.y))' : 'found';
    const value = safe ? `safe_b${of}(${own})` : own;
    return `${head} {
  let inside = line < ${lines} && place < ${length};
  let found = ${array}[select(0u, (${at}) / 4u, inside)];
  return select(vec4f(), ${value}, inside);
}`;
  }
  const one = (i: number): string =>
    `if (place + ${i}u < ${length}) { values[${i}] = load_${name}(at + ${i}u); }`;
  return `${half ? loadFloat(name, true) : `fn load_${name}(at: u32) -> f32 { return ${name}[at]; }`}
${head} {
  var values = vec4f();
  if (line >= ${lines}) { return values; }
  let at = ${at};
  ${times(4, one, '\n  ')}
  return ${safe ? 'safe_b(values)' : 'values'};
}`;
}

/**
 * `put(start, row, column, sums)`: four neighbours of the result, except those beyond its edges; with `adds` (f32 only),
 * added to what is there, or after an epilogue (of f16 only with `vec`). `of` and the buffer `array` as in `Loader`, with `vec`.
 */
export function writer(
  half: boolean,
  vec: boolean,
  adds = false,
  epilogue: EpilogueParts = NO_EPILOGUE,
  { of, array }: Readonly<Record<'of' | 'array', string>> = { of: '', array: 'out' },
): string {
  const set = adds ? '+=' : '=';
  const isPlain = isEmptyEpilogue(epilogue);
  const packs = half && vec ? `${packed}\n` : '';
  const head = `${packs}${isPlain ? '' : `${finishText(epilogue, vec, half)}\n`}fn put${of}(start: u32, row: u32, column: u32, sums: vec4f) {
  if (row >= params.rows${of} || column >= params.columns${of}) { return; }
  let at = start + row * params.out_stride${of} + column;`;
  if (vec) {
    const value = isPlain ? 'sums' : 'finished(at, column, sums)';
    return `${head}
  ${array}[at / 4u] ${set} ${half ? `packed(${value})` : value};
}`;
  }
  const one = (index: number): string =>
    half
      ? `atomicOr(&out[(at + ${index}u) / 2u], half_of(sums[${index}]) << (16u * ((at + ${index}u) % 2u)));`
      : `out[at + ${index}u] ${set} ${isPlain ? `sums[${index}]` : `finished(at + ${index}u, column + ${index}u, sums[${index}])`};`;
  return `${head}
  ${one(0)}
  ${[1, 2, 3].map((index) => `if (column + ${index}u < params.columns) { ${one(index)} }`).join('\n  ')}
}`;
}

const packed = `fn packed(four: vec4f) -> vec2u {
  return vec2u(half_of(four.x) | (half_of(four.y) << 16u), half_of(four.z) | (half_of(four.w) << 16u));
}`;

/** Whether groups of four elements along a line never straddle: neither where lines begin nor where they end. */
export function inFours({ base, batchStep, stride }: Operand, length: number): boolean {
  return [base, batchStep, stride, length].every((each) => each % 4 === 0);
}
