import { storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { halfOf } from '../wgsl/numbers.js';
import { range, times } from '../wgsl/text.js';
import { lanesOf, ROW_INVOCATIONS } from './row-lanes.js';
import { rowSums, runningSum } from './row-sums.js';
import { text } from './softmax.wgsl.js';
import { rowsOf, splitRows } from './split-rows.js';

/** Groups of four entries that an invocation holds in registers. */
const MOST_QUADS = 4;

interface SoftmaxParameters {
  readonly half: boolean;
  /** Four neighbours are read and written at once. */
  readonly vec: boolean;
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Groups of four entries per invocation; 0: the row is read twice instead. */
  readonly quads: number;
}

/**
 * A workgroup takes 256 / lanes rows: largest entry, sum of exponentials, result. Rows of up to 4,096 entries are read
 * once into registers, longer ones twice, the first time with a running maximum. 2 KiB of workgroup memory.
 */
function kernelOf({ half, vec, lanes, quads }: SoftmaxParameters) {
  const four = half ? 'vec2u' : 'vec4u';
  const one = half ? 'atomic<u32>' : 'u32';
  return defineKernel({
    key: `softmax ${lanes} ${quads}${half ? ' f16' : ''}${vec ? ' vec' : ''}`,
    uniforms: { rows: 'u32', width: 'u32' },
    buffers: { x: readFrom(vec ? four : 'u32'), out: writeTo(vec ? four : one) },
    workgroup: ROW_INVOCATIONS,
    source: () => `${rowSums(lanes, false)}
${half ? halfOf : ''}
${loadQuad(half, vec)}
${storeQuad(half, vec)}
${fill(text, { is_held: quads > 0, held_row: quads > 0 ? inRegisters(quads) : '', running_sum: runningSum })}`,
  });
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
  ${times(4, (i) => `if (j + ${i}u < width) { bits[${i}] = ${one(i)}; }`, '\n  ')}
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
    : times(4, (i) => `if (j + ${i}u < width) { ${one(i)} }`, '\n  ');
  return `fn store_quad(to: u32, j: u32, width: u32, v: vec4f) {
  ${body}
}`;
}

/** A row in registers. */
function inRegisters(quads: number): string {
  const each = range(quads);
  const place = (q: number): string => `first + ${q}u * 4u * LANES`;
  return `${each.map((q) => `let bits_${q} = load_quad(start, ${place(q)}, width);`).join('\n  ')}
  let key = row_key(local, ${each.map((q) => `quad_key(bits_${q})`).reduce((a, b) => `max(${a}, ${b})`)});
  let largest = float_of(key);
  let sum = row_sum(local, ${each.map((q) => `total_of(weights(bits_${q}, largest))`).join(' + ')});
  ${each.map((q) => `store_quad(to, ${place(q)}, width, result(bits_${q}, key, largest, sum));`).join('\n  ')}`;
}

/** Over the last axis. A row of all -inf gives zeros; a row with NaN or +inf gives NaN throughout. */
export function recordSoftmax(stream: Stream, x: View, out: View): void {
  const { rows, width } = rowsOf(x.shape);
  if (rows * width === 0) return;
  const half = x.dtype === 'f16';
  // Halves that share a word are or-ed into it.
  if (half) stream.clear(windowOf(out, 0, rows * width).span);
  const lanes = lanesOf(width, 4 * MOST_QUADS);
  const quads = Math.ceil(width / (4 * lanes));
  for (const { first, count } of splitRows(stream, 'softmax', rows, width * storedBytes(x.dtype))) {
    const from = windowOf(x, first * width, count * width);
    const to = windowOf(out, first * width, count * width);
    const vec = [width, from.base, to.base].every((each) => each % 4 === 0);
    const quadsHeld = quads > MOST_QUADS ? 0 : quads;
    kernelOf({ half, vec, lanes, quads: quadsHeld }).launch(stream, {
      uniforms: { rows: count, width },
      buffers: { x: from, out: to },
      workgroups: { invocations: count * lanes },
    });
  }
}
