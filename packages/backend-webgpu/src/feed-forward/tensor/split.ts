import type { Binding } from '../../runtime/binding.js';
import type { Stream } from '../../runtime/stream.js';
import { defineKernel, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { times } from '../../wgsl/text.js';
import { text as packText } from './split-pack.wgsl.js';
import { text as scalesText } from './split-scales.wgsl.js';

/**
 * An f32 matrix as the sum of two f16 matrices, for products on matrix units: value * 2^e = hi + lo + rest with
 * hi = value * 2^e rounded to 11 bits, lo = f16(value * 2^e - hi), |rest| <= 2^-22 |value * 2^e| + 2^-25, and e chosen
 * per line (row of the left operand, column of the right one) so that the largest element lies in [2^13, 2^14).
 * Scaling by powers of two is exact, so values beyond f16's range cost nothing; an element 2^-17 times the largest or
 * smaller loses bits of lo, 2^-39 of the largest at most.
 *
 * Lines with NaN, infinities or elements of 2^100 and more are marked; `recordRepair` computes what they touch in f32.
 *
 * Packed layout: blocks of 16 lines x 16 inner elements, 256 hi then 256 lo, lines first; [line blocks, inner blocks]
 * blocks, zeros beyond the matrix. One invocation per element; read once, 4 bytes written per element.
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

/** Scale of every line as 2^-e, then 1 + lines marks: whether any is marked, then one flag each. */
export interface SplitMatrix {
  readonly packed: Binding;
  /** f32 [lines] */
  readonly scales: Binding;
  /** u32 [1 + lines], zero before */
  readonly marks: Binding;
}

/** Eight loads in flight per invocation. */
const loads: string = times(8, (u) => `let x${u} = size_of(line, i + ${u}u * step);`);

const scaleKernel = (isAcross: boolean) =>
  defineKernel({
    key: `feed-forward split scales${isAcross ? ' of columns' : ''}`,
    uniforms: { lines: 'u32', inner: 'u32' },
    buffers: { x: readFrom('f32'), scales: write('f32'), marks: write('atomic<u32>') },
    workgroup: [32, 8],
    source: () => fill(scalesText, { is_across: isAcross, loads }),
  });

const packKernel = (isAcross: boolean) =>
  defineKernel({
    key: `feed-forward split${isAcross ? ' of columns' : ''}`,
    uniforms: { lines: 'u32', inner: 'u32', blocks: 'u32', words: 'u32' },
    buffers: { x: readFrom('f32'), scales: read('f32'), marks: read('u32'), packed: write('f16') },
    workgroup: 256,
    directives: ['enable f16'],
    source: () => fill(packText, { is_across: isAcross }),
  });

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
