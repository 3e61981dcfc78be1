import type { ScoreVariant } from './problem.js';

/** Declarations of storage buffers at bindings 1, 2, ... */
export function bindings(
  buffers: readonly (readonly [name: string, access: 'read' | 'read_write', type: string])[],
): string {
  return buffers
    .map(
      ([name, access, type], at) => `@group(0) @binding(${at + 1}) var<storage, ${access}> ${name}: ${type};`,
    )
    .join('\n');
}

/** `load_<name>(i)`: four elements from 4 i on of the array `name`. */
export function loadFour(name: string, half: boolean): string {
  return half
    ? `fn load_${name}(i: u32) -> vec4f { let w = ${name}[i]; return vec4f(unpack2x16float(w.x), unpack2x16float(w.y)); }`
    : `fn load_${name}(i: u32) -> vec4f { return ${name}[i]; }`;
}

/** The type of the array that `loadFour` reads. */
export function fourArray(half: boolean): string {
  return half ? 'array<vec2u>' : 'array<vec4f>';
}

/** Ordered keys of scores: 0 stands for a key that is not valid, and only for that. */
export const orderText = `
const NAN_BITS = 0x7fc00000u;
const PLUS_INF_BITS = 0x7f800000u;
const MINUS_INF_BITS = 0xff800000u;
const MINUS_INF_ORDER = 0x007fffffu;
fn is_nan(bits: u32) -> bool { return (bits & 0x7fffffffu) > PLUS_INF_BITS; }
fn order_of_bits(bits: u32) -> u32 {
  return bits ^ select(0x80000000u, 0xffffffffu, (bits & 0x80000000u) != 0u);
}
fn bits_of_order(order: u32) -> u32 {
  return order ^ select(0xffffffffu, 0x80000000u, (order & 0x80000000u) != 0u);
}`;

/** `row_at(r)`: which query a row of the block is, and how many leading keys causality and lengths let it see. */
export function rowText({ causal, keyLengths }: Pick<ScoreVariant, 'causal' | 'keyLengths'>): string {
  return `
struct Row { head: u32, key_head: u32, batch: u32, query_head: u32, query: u32, visible: u32 }
fn row_at(r: u32) -> Row {
  var row: Row;
  row.head = r / problem.query_count;
  row.query = problem.query_start + r % problem.query_count;
  let flat = problem.head_start + row.head;
  row.batch = flat / problem.query_heads;
  row.query_head = flat % problem.query_heads;
  row.key_head = flat / problem.heads_per_key_head - problem.key_head_start;
  var visible = i32(problem.key_length);
  ${causal ? 'visible = min(visible, i32(row.query + 1u + problem.key_length) - i32(problem.query_length));' : ''}
  ${keyLengths ? 'visible = min(visible, bitcast<i32>(tables[row.batch]));' : ''}
  row.visible = u32(max(visible, 0));
  return row;
}`;
}

/**
 * Where the summation order of the whole project is fixed: four elements at a time, eight running sums (sum l takes
 * the fours l, l + 8, ...), each a chain of fused multiply-adds, added up as ((0+1)+(2+3)) + ((4+5)+(6+7)). Eight lanes
 * with butterfly shuffles and one invocation alone come to the same bits.
 */
export const chainText = `
fn chain(sum: f32, a: vec4f, b: vec4f) -> f32 {
  return fma(a.w, b.w, fma(a.z, b.z, fma(a.y, b.y, fma(a.x, b.x, sum))));
}`;

/** `dot_whole(q, k)` for a query in workgroup memory `query` and the fours of `k` from `at` on, by one invocation. */
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
 * `order_of_score(row, key, dot)`: the ordered key of scale * dot + relative bias; 0 where the key is not valid for the row.
 * A NaN gives the ordered key of NaN bits: test with `is_nan_order`.
 */
export function scoreText({ relative }: Pick<ScoreVariant, 'relative'>): string {
  return `
fn is_nan_order(order: u32) -> bool { return order == 0xffffffffu; }
fn order_of_score(row: Row, key: u32, product: f32) -> u32 {
  if (key >= row.visible) { return 0u; }
  ${
    relative
      ? `let apart = i32(key + problem.query_length) - i32(row.query + problem.key_length);
  let bucket = tables[problem.buckets_at + u32(clamp(apart, -problem.reach, problem.reach) + problem.reach)];
  let relative = bitcast<f32>(tables[problem.table_at + bucket * problem.query_heads + row.query_head]);`
      : ''
  }
  // An explicit fused operation: whether a compiler makes one of a product and a sum must not decide a tie.
  let score = ${relative ? 'fma(problem.scale, product, relative)' : 'problem.scale * product'};
  var bits = bitcast<u32>(score);
  if (is_nan(bits)) { return 0xffffffffu; }
  if (bits == MINUS_INF_BITS) { return 0u; }
  if (bits == 0x80000000u) { bits = 0u; } // -0 ties with 0
  return order_of_bits(bits);
}`;
}
