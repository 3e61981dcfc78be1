import { gridOf, type Kernel, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { floatClasses, halfOf, orderedKey32 } from './wgsl-numbers.js';
import { rowsOf, splitRows, storedBytes, windowOf } from './windows.js';

const INVOCATIONS = 256;
/** Groups of four entries that an invocation holds in registers. */
const MOST_QUADS = 4;

interface SoftmaxParameters {
  readonly half: boolean;
  /** Four neighbours are read and written at once. */
  readonly vec: boolean;
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Groups of four entries each of them holds; 0: the row is read twice instead. */
  readonly quads: number;
}

/**
 * A workgroup takes 256 / lanes rows: largest entry, sum of exponentials, result. Rows of up to 4,096 entries are read once
 * into registers; longer ones twice, the first time with a running maximum. 2 KiB of workgroup memory.
 */
function kernelOf(parameters: SoftmaxParameters): Kernel {
  const { half, vec, lanes, quads } = parameters;
  return {
    key: `softmax ${lanes} ${quads}${half ? ' f16' : ''}${vec ? ' vec' : ''}`,
    buffers: ['read', 'write'],
    source: () => sourceOf(parameters),
  };
}

function sourceOf({ half, vec, lanes, quads }: SoftmaxParameters): string {
  return `
struct Params { rows: u32, width: u32, x_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<${vec ? (half ? 'vec2u' : 'vec4u') : 'u32'}>;
@group(0) @binding(2) var<storage, read_write> out: array<${vec ? (half ? 'vec2u' : 'vec4u') : half ? 'atomic<u32>' : 'u32'}>;
${floatClasses}
${orderedKey32}
${half ? halfOf : ''}
const INVOCATIONS = ${INVOCATIONS}u;
const LANES = ${lanes}u;
const MINUS_INF_KEY = 0x007fffffu;
/** Key of a row with NaN or +inf. */
const BAD = 0xffffffffu;

var<workgroup> keys: array<u32, INVOCATIONS>;
var<workgroup> sums: array<f32, INVOCATIONS>;

${loadQuad(half, vec)}
${storeQuad(half, vec)}

fn float_of(key: u32) -> f32 {
  return bitcast<f32>(key ^ select(0xffffffffu, 0x80000000u, (key & 0x80000000u) != 0u));
}
fn checked_key(bits: u32) -> u32 { return select(key_of(bits), BAD, is_nan_or_plus_inf(bits)); }
fn quad_key(bits: vec4u) -> u32 {
  return max(
    max(checked_key(bits.x), checked_key(bits.y)),
    max(checked_key(bits.z), checked_key(bits.w)),
  );
}
/** exp(x - largest), also where the compiler knows of no infinities. */
fn weights(bits: vec4u, largest: f32) -> vec4f {
  let apart = max(bitcast<vec4f>(bits) - largest, vec4f(-200.0));
  return select(exp(apart), vec4f(), bits == vec4u(MINUS_INF_BITS));
}
fn total_of(values: vec4f) -> f32 { return (values.x + values.y) + (values.z + values.w); }

/** The largest key of the row. */
fn row_key(local: u32, mine: u32) -> u32 {
  keys[local] = mine;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (local % LANES < step) { keys[local] = max(keys[local], keys[local + step]); }
    workgroupBarrier();
  }
  return keys[local - local % LANES];
}
/** The sum over the row. */
fn row_sum(local: u32, mine: f32) -> f32 {
  sums[local] = mine;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (local % LANES < step) { sums[local] += sums[local + step]; }
    workgroupBarrier();
  }
  return sums[local - local % LANES];
}
/** A row of all -inf gives zeros, one with NaN or +inf NaN throughout. */
fn result(bits: vec4u, key: u32, largest: f32, sum: f32) -> vec4f {
  if (key == BAD) { return bitcast<vec4f>(vec4u(select(0x7fc00000u, 0u, key != BAD))); }
  if (key == MINUS_INF_KEY) { return vec4f(); }
  return weights(bits, largest) / sum;
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * ${INVOCATIONS / lanes}u + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = params.x_base + row * params.width;
  let to = params.out_base + row * params.width;
  let first = 4u * (local % LANES);
  ${quads > 0 ? inRegisters(quads) : readTwice}
}`;
}

function loadQuad(half: boolean, vec: boolean): string {
  const floats = (pair: string): string =>
    `bitcast<vec4u>(vec4f(unpack2x16float(${pair}.x), unpack2x16float(${pair}.y)))`;
  const at = 'x[(start + j) / 4u]';
  const one = half
    ? (i: number): string =>
        `bitcast<u32>(unpack2x16float(x[(start + j + ${i}u) / 2u])[(start + j + ${i}u) % 2u])`
    : (i: number): string => `x[start + j + ${i}u]`;
  const body = vec
    ? `if (j >= width) { return vec4u(MINUS_INF_BITS); }
  ${half ? `let pair = ${at};\n  return ${floats('pair')};` : `return ${at};`}`
    : `var bits = vec4u(MINUS_INF_BITS);
  ${[0, 1, 2, 3].map((i) => `if (j + ${i}u < width) { bits[${i}] = ${one(i)}; }`).join('\n  ')}
  return bits;`;
  return `/** Bits of entries j to j + 3 as f32, -inf beyond the end. */
fn load_quad(start: u32, j: u32, width: u32) -> vec4u {
  ${body}
}`;
}

function storeQuad(half: boolean, vec: boolean): string {
  const halves = 'vec2u(half_of(v.x) | (half_of(v.y) << 16u), half_of(v.z) | (half_of(v.w) << 16u))';
  const one = half
    ? (i: number): string =>
        `atomicOr(&out[(to + j + ${i}u) / 2u], half_of(v[${i}]) << (16u * ((to + j + ${i}u) % 2u)));`
    : (i: number): string => `out[to + j + ${i}u] = bitcast<u32>(v[${i}]);`;
  const body = vec
    ? `if (j < width) { out[(to + j) / 4u] = ${half ? halves : 'bitcast<vec4u>(v)'}; }`
    : [0, 1, 2, 3].map((i) => `if (j + ${i}u < width) { ${one(i)} }`).join('\n  ');
  return `fn store_quad(to: u32, j: u32, width: u32, v: vec4f) {
  ${body}
}`;
}

function inRegisters(quads: number): string {
  const each = Array.from({ length: quads }, (_, q) => q);
  const place = (q: number): string => `first + ${q}u * 4u * LANES`;
  return `${each.map((q) => `let bits_${q} = load_quad(start, ${place(q)}, width);`).join('\n  ')}
  let key = row_key(local, ${each.map((q) => `quad_key(bits_${q})`).reduce((a, b) => `max(${a}, ${b})`)});
  let largest = float_of(key);
  let sum = row_sum(local, ${each.map((q) => `total_of(weights(bits_${q}, largest))`).join(' + ')});
  ${each.map((q) => `store_quad(to, ${place(q)}, width, result(bits_${q}, key, largest, sum));`).join('\n  ')}`;
}

const readTwice = `
  var mine = MINUS_INF_KEY;
  var part = 0.0;
  for (var j = first; j < width; j += 4u * LANES) {
    let bits = load_quad(start, j, width);
    let larger = max(mine, quad_key(bits));
    if (larger == BAD || larger == MINUS_INF_KEY) { mine = larger; continue; }
    if (larger > mine) {
      part *= select(exp(max(float_of(mine) - float_of(larger), -200.0)), 0.0, mine == MINUS_INF_KEY);
      mine = larger;
    }
    part += total_of(weights(bits, float_of(mine)));
  }
  let key = row_key(local, mine);
  let largest = float_of(key);
  let is_part = key != BAD && mine != MINUS_INF_KEY;
  let sum = row_sum(local, select(0.0, part * exp(max(float_of(mine) - largest, -200.0)), is_part));
  for (var j = first; j < width; j += 4u * LANES) {
    store_quad(to, j, width, result(load_quad(start, j, width), key, largest, sum));
  }`;

/** Over the last axis. A row of all -inf gives zeros; a row with NaN or +inf gives NaN throughout. */
export function recordSoftmax(stream: Stream, x: View, out: View): void {
  const { rows, width } = rowsOf(x.shape);
  if (rows * width === 0) return;
  const half = x.dtype === 'f16';
  // Halves that share a word are or-ed into it.
  if (half) stream.clear(windowOf(out, 0, rows * width).span);
  const lanes = Math.min(INVOCATIONS, Math.max(4, 2 ** Math.ceil(Math.log2(width / (4 * MOST_QUADS)))));
  const quads = Math.ceil(width / (4 * lanes));
  for (const { first, count } of splitRows(stream, 'softmax', rows, width * storedBytes(x.dtype))) {
    const from = windowOf(x, first * width, count * width);
    const to = windowOf(out, first * width, count * width);
    const vec = [width, from.base, to.base].every((each) => each % 4 === 0);
    stream.launch({
      kernel: kernelOf({ half, vec, lanes, quads: quads > MOST_QUADS ? 0 : quads }),
      buffers: [from.span, to.span],
      uniforms: uniformWords([count, width, from.base, to.base]),
      workgroups: gridOf(Math.ceil((count * lanes) / INVOCATIONS)),
    });
  }
}
