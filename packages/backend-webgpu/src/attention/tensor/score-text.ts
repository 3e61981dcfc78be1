import type { AttentionRequest } from '@topk-attention/core/backend';
import { orderedKey32 } from '../../wgsl/numbers.js';
import { bitsOfKey } from '../shared/ordered-key.js';

/** What the text of a kernel that scores listed keys depends on. */
export interface ScoreVariant {
  readonly headDim: number;
  /** q and k (and v and the output) stored as f16. */
  readonly half: boolean;
  readonly relative: boolean;
  readonly keyLengths: boolean;
  readonly causal: boolean;
}

export function scoreVariantOf(request: AttentionRequest): ScoreVariant {
  return {
    headDim: request.headDim,
    half: request.dtype === 'f16',
    relative: request.relativeBias !== undefined,
    keyLengths: request.keyLengths,
    causal: request.causal,
  };
}

/** `load_<name>(i)`: four elements of the array `name`, starting at element 4 i. */
export function loadFour(name: string, half: boolean): string {
  return half
    ? `fn load_${name}(i: u32) -> vec4f { let w = ${name}[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }`
    : `fn load_${name}(i: u32) -> vec4f { return ${name}[i]; }`;
}

/** Element type of the array that `loadFour` reads. */
export function fourType(half: boolean): string {
  return half ? 'vec2u' : 'vec4f';
}

/** Ordered keys of scores: 0 stands for a key that is not valid, and only for that. */
export const orderText: string = `
const NAN_BITS = 0x7fc00000u;
const PLUS_INF_BITS = 0x7f800000u;
const MINUS_INF_BITS = 0xff800000u;
fn is_nan(bits: u32) -> bool { return (bits & 0x7fffffffu) > PLUS_INF_BITS; }
${orderedKey32}
${bitsOfKey}`;

/** The key length of a row's sequence, for `visibleOf`, read from the `tables` of `recordTables`. */
export const lengthInTables = 'bitcast<i32>(tables[row.batch])';

/**
 * The order of summation of this path, whichever kernel scores a key: four elements at a time, eight running sums (sum
 * l takes the fours l, l + 8, ...), each a chain of fused multiply-adds, added up as ((0+1)+(2+3)) + ((4+5)+(6+7)).
 * Eight lanes with butterfly shuffles and a single invocation produce the same bits.
 */
export const chainText = `
fn chain(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}`;

/**
 * `dot_whole(q, k)` for a query in workgroup memory `query` and the fours of `k` starting at `at`, by one invocation.
 */
export function dotWhole(headDim: number): string {
  const fours = headDim / 4;
  const sums = Array.from({ length: 8 }, (_, lane) => {
    let sum = '0.0';
    for (let four = lane; four < fours; four += 8)
      sum = `chain(${sum}, query[${four}], load_k(at + ${four}u))`;
    return `  let s${lane} = ${sum};`;
  });
  return `
fn dot_whole(at: u32) -> f32 {
${sums.join('\n')}
  return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
}`;
}

/**
 * `order_of_score(row, visible, key, dot)`: the ordered key of scale * dot + relative bias; 0 where the key is hidden from the
 * row. A NaN gives the ordered key of NaN bits: test with `is_nan_order`.
 */
export function scoreText({ relative }: Pick<ScoreVariant, 'relative'>): string {
  return `
fn is_nan_order(order: u32) -> bool { return order == 0xffffffffu; }
fn order_of_score(row: Row, visible: u32, key: u32, product: f32) -> u32 {
  if (key >= visible) { return 0u; }
  ${
    relative
      ? `let reach = i32(params.reach);
  let apart = i32(key) - i32(row.query) - params.query_start;
  let bucket = tables[params.buckets_at + u32(clamp(apart, -reach, reach) + reach)];
  let relative = bitcast<f32>(tables[params.table_at + bucket * params.query_heads + row.head]);`
      : ''
  }
  // An explicit fused operation: whether a compiler makes one of a product and a sum must not decide a tie.
  let score = ${relative ? 'fma(params.scale, product, relative)' : 'params.scale * product'};
  let bits = bitcast<u32>(score);
  if (is_nan(bits)) { return 0xffffffffu; }
  if (bits == MINUS_INF_BITS) { return 0u; }
  return key_of(bits);
}`;
}
