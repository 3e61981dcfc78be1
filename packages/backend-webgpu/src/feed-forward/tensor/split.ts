import type { Binding } from '../../runtime/binding.js';
import type { Stream } from '../../runtime/stream.js';
import { defineKernel, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { times } from '../../wgsl/text.js';

/**
 * An f32 matrix as the sum of two f16 matrices, for products on matrix units: value * 2^e = hi + lo + rest with
 * hi = value * 2^e rounded to 11 bits, lo = f16(value * 2^e - hi), |rest| <= 2^-22 |value * 2^e| + 2^-25, and e chosen per line (row of
 * the left operand, column of the right one) so that the largest element lies in [2^13, 2^14). Scaling by powers of two
 * is exact, so what lies beyond f16's range costs nothing; an element 2^-17 times the largest or smaller loses bits of
 * lo, 2^-39 of the largest at most.
 *
 * Lines with NaN, infinities or elements of 2^100 and more are marked; `recordRepair` computes what they touch in f32.
 *
 * Packed layout: blocks of 16 lines x 16 inner elements, 256 hi then 256 lo, lines first; [line blocks, inner blocks]
 * blocks, zeros beyond the matrix. One invocation an element; read once, 4 bytes written an element.
 */
export interface SplitShape {
  /** Rows of the left operand or columns of the right one. */
  readonly lines: number;
  readonly inner: number;
  /** Lines are padded to a multiple of this. */
  readonly tile: number;
}

export function splitWords({ lines, inner, tile }: SplitShape): number {
  return Math.ceil(lines / tile) * tile * innerBlocks(inner) * 16;
}

/** Blocks along the inner extent, an even number. */
export function innerBlocks(inner: number): number {
  return 2 * Math.ceil(inner / 32);
}

/** Scale of every line as 2^-e, then 1 + lines marks: whether any is marked, then a flag each. */
export interface SplitMatrix {
  readonly packed: Binding;
  /** f32 [lines] */
  readonly scales: Binding;
  /** u32 [1 + lines], zero before */
  readonly marks: Binding;
}

const scaleKernel = (isAcross: boolean) =>
  defineKernel({
    key: `feed-forward split scales${isAcross ? ' of columns' : ''}`,
    uniforms: { lines: 'u32', inner: 'u32' },
    buffers: { x: readFrom('f32'), scales: write('f32'), marks: write('atomic<u32>') },
    workgroup: [32, 8],
    source: () => scaleText(isAcross),
  });

const scaleText = (isAcross: boolean): string => `var<workgroup> part: array<u32, 256>;
/** Bits of |x|, 0 beyond the line. */
fn size_of(line: u32, i: u32) -> u32 {
  if (i >= params.inner) { return 0u; }
  return bitcast<u32>(x[params.x_base + ${isAcross ? 'i * params.lines + line' : 'line * params.inner + i'}]) & 0x7fffffffu;
}
@compute @workgroup_size(INVOCATIONS_X, INVOCATIONS_Y)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_id) t: vec3u) {
  let id = group.x + group.y * groups.x;
  ${
    isAcross
      ? `let line = id * 32u + t.x;
  let first = t.y; let step = 8u; let cell = t.y * 32u + t.x;`
      : `let line = id * 8u + t.y;
  let first = t.x; let step = 32u; let cell = t.x * 8u + t.y;`
  }
  var largest = 0u;
  if (line < params.lines) {
    for (var i = first; i < params.inner; i += 8u * step) {
      ${times(8, (u) => `let x${u} = size_of(line, i + ${u}u * step);`, '\n      ')}
      largest = max(largest, max(max(max(x0, x1), max(x2, x3)), max(max(x4, x5), max(x6, x7))));
    }
  }
  part[cell] = largest;
  workgroupBarrier();
  if (${isAcross ? 't.y' : 't.x'} != 0u || line >= params.lines) { return; }
  for (var i = 1u; i < ${isAcross ? 8 : 32}u; i++) { largest = max(largest, part[${isAcross ? 'i * 32u + t.x' : 'i * 8u + t.y'}]); }
  if (largest >= 0x71800000u) { // 2^100
    atomicStore(&marks[1u + line], 1u);
    atomicStore(&marks[0], 1u);
    scales[line] = 1.0;
    return;
  }
  // 2^(exponent - 13), within the normal numbers.
  let exponent = max(i32(largest >> 23u) - 13, 16);
  scales[line] = bitcast<f32>(u32(exponent) << 23u);
}`;

const packKernel = (isAcross: boolean) =>
  defineKernel({
    key: `feed-forward split${isAcross ? ' of columns' : ''}`,
    uniforms: { lines: 'u32', inner: 'u32', blocks: 'u32', words: 'u32' },
    buffers: { x: readFrom('f32'), scales: read('f32'), marks: read('u32'), packed: write('f16') },
    workgroup: 256,
    directives: ['enable f16'],
    source: () => packText(isAcross),
  });

const packText = (isAcross: boolean): string => `var<workgroup> block: array<f32, 272>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let id = group.x + group.y * groups.x;
  if (id >= params.words / 256u) { return; }
  let line0 = (id / params.blocks) * 16u;
  let inner0 = (id % params.blocks) * 16u;
  let line = line0 + ${isAcross ? 't % 16u' : 't / 16u'};
  let at = inner0 + ${isAcross ? 't / 16u' : 't % 16u'};
  var value = 0.0;
  if (line < params.lines && at < params.inner && marks[1u + line] == 0u) {
    // The inverse of a power of two, exactly.
    let inverse = bitcast<f32>((254u << 23u) - bitcast<u32>(scales[line]));
    value = x[params.x_base + ${isAcross ? 'at * params.lines + line' : 'line * params.inner + at'}] * inverse;
  }
  ${
    isAcross
      ? `block[(t % 16u) * 17u + t / 16u] = value;
  workgroupBarrier();
  value = block[(t / 16u) * 17u + t % 16u];`
      : ''
  }
  // Rounded to 11 bits on the bits: a driver was seen to fold value - f32(f16(value)) to zero.
  let hi = bitcast<f32>((bitcast<u32>(value) + 0x1000u) & 0xffffe000u);
  packed[id * 512u + t] = f16(hi);
  packed[id * 512u + 256u + t] = f16(value - hi);
}`;

/** Splits x: [lines, inner], or [inner, lines] if `isAcross`. Ranges of `into` start at their bindings. */
export function recordSplit(
  stream: Stream,
  shape: SplitShape,
  x: Binding,
  isAcross: boolean,
  into: SplitMatrix,
): void {
  const { lines, inner } = shape;
  const words = splitWords(shape);
  stream.clear(into.marks.span);
  scaleKernel(isAcross).launch(stream, {
    uniforms: { lines, inner },
    buffers: { x, scales: into.scales.span, marks: into.marks.span },
    workgroups: Math.ceil(lines / (isAcross ? 32 : 8)),
  });
  packKernel(isAcross).launch(stream, {
    uniforms: { lines, inner, blocks: innerBlocks(inner), words },
    buffers: { x, scales: into.scales.span, marks: into.marks.span, packed: into.packed.span },
    workgroups: words / 256,
  });
}
