import type { Binding } from '../runtime/binding.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, optional, read, readFrom, write, writeTo } from '../wgsl/define-kernel.js';
import { halfOf } from '../wgsl/numbers.js';
import { text as blocksText } from './segment-sums-blocks.wgsl.js';
import { text as rowsText } from './segment-sums-rows.wgsl.js';

export type SummedElement = 'f32' | 'f16' | 'i32';

interface SegmentParameters {
  readonly element: SummedElement;
  /** Four neighbours at once; otherwise one. */
  readonly vec: boolean;
}

/** Type of a sum. */
function sumType({ element, vec }: SegmentParameters): string {
  const scalar = element === 'i32' ? 'i32' : 'f32';
  return vec ? `vec4<${scalar}>` : scalar;
}

function updatesType({ element, vec }: SegmentParameters): string {
  if (element === 'f16') return vec ? 'vec2u' : 'u32';
  return sumType({ element, vec });
}

function outType({ element, vec }: SegmentParameters): string {
  if (element === 'f16') return vec ? 'vec2u' : 'atomic<u32>';
  return sumType({ element, vec });
}

/** `update_at(position, unit)`, where units are vectors or elements. */
function updateText(parameters: SegmentParameters, isWeighted: boolean): string {
  const row = isWeighted ? 'position / params.per_row' : 'position';
  const weight = isWeighted ? 'weights[params.weights_base + position] * ' : '';
  return `fn update_at(position: u32, unit: u32) -> Sum {
  let at = params.updates_base + ${row} * params.width + unit;
  return ${weight}${loadUpdate(parameters)};
}`;
}

function loadUpdate({ element, vec }: SegmentParameters): string {
  if (element !== 'f16') return 'updates[at]';
  return vec
    ? 'vec4f(unpack2x16float(updates[at].x), unpack2x16float(updates[at].y))'
    : 'unpack2x16float(updates[at / 2u])[at % 2u]';
}

function storeSum({ element, vec }: SegmentParameters): string {
  if (element !== 'f16') return 'out[at] = sum;';
  return vec
    ? 'out[at] = vec2u(half_of(sum.x) | (half_of(sum.y) << 16u), half_of(sum.z) | (half_of(sum.w) << 16u));'
    : 'atomicOr(&out[at / 2u], half_of(sum) << (16u * (at % 2u)));';
}

/** `Sum`, and `put(at, sum)`. */
function sumText(parameters: SegmentParameters): string {
  return `alias Sum = ${sumType(parameters)};
${parameters.element === 'f16' ? halfOf : ''}
fn put(at: u32, sum: Sum) { ${storeSum(parameters)} }`;
}

/**
 * Sums of the segments of sorted entries, block by block: an invocation takes one unit of the width for a block of
 * entries, in order. A segment inside the block is a result; the block's part of a segment that begins before it or
 * ends after it is the block's head or tail.
 */
const blocksKernel = (parameters: SegmentParameters, isWeighted: boolean) =>
  defineKernel({
    key: `segment-sums blocks ${nameOf(parameters)}${isWeighted ? ' weighted' : ''}`,
    uniforms: { rows: 'u32', entries: 'u32', width: 'u32', block: 'u32', per_row: 'u32' },
    buffers: {
      entries: read('vec2u'),
      weights: optional(isWeighted, readFrom('f32')),
      updates: readFrom(updatesType(parameters)),
      out: writeTo(outType(parameters)),
      parts: write(sumType(parameters)),
    },
    workgroup: 64,
    source: () => `${sumText(parameters)}
${updateText(parameters, isWeighted)}
${blocksText}`,
  });

/** Where the entries of each row begin, by bisection; has one more element than there are rows. */
const beginsKernel = defineKernel({
  key: 'segment-sums begins',
  uniforms: { rows: 'u32', entries: 'u32' },
  buffers: { entries: read('vec2u'), begins: write('u32') },
  workgroup: 64,
  source: () => `@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = id.x + id.y * groups.x * INVOCATIONS;
  if (row > params.rows) { return; }
  var low = 0u;
  var high = params.entries;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (entries[middle].x < row) { low = middle + 1u; } else { high = middle; }
  }
  begins[row] = low;
}`,
});

/** Rows without entries, and rows whose entries lie in several blocks: tail, then heads, in order. */
const rowsKernel = (parameters: SegmentParameters) =>
  defineKernel({
    key: `segment-sums rows ${nameOf(parameters)}`,
    uniforms: { rows: 'u32', width: 'u32', block: 'u32' },
    buffers: { begins: read('u32'), parts: read(sumType(parameters)), out: writeTo(outType(parameters)) },
    workgroup: 64,
    source: () => `${sumText(parameters)}\n${rowsText}`,
  });

const nameOf = ({ element, vec }: SegmentParameters): string => `${element}${vec ? ' vec' : ''}`;

export interface SegmentSizes {
  readonly rows: number;
  readonly entries: number;
  readonly width: number;
}

/** Updates that several positions share, each times a weight of its own. */
export interface SharedUpdates {
  /** f32, one per position. */
  readonly weights: Binding;
  /** Neighbouring positions that share an update. */
  readonly perRow: number;
}

/** Entries of a block: long enough to leave few parts, short enough to give many blocks. */
function blockOf(entries: number): number {
  return entries < 2 ** 17 ? 32 : 256;
}

/** Scratch of the sums, by tensor. */
export function segmentBytes({ rows, entries, width }: SegmentSizes): {
  readonly parts: number;
  readonly begins: number;
} {
  return { parts: 8 * Math.ceil(entries / blockOf(entries)) * width, begins: 4 * (rows + 1) };
}

/**
 * out[row] = sum of the updates whose (row, position) are entries, sorted; zeros where there are none. For f16 not in
 * fours, `out` must have been cleared.
 *
 * @param shared makes the update of a position updates[position / perRow] times its weight, for f32. Default: each position
 * has an update.
 */
export function recordSegmentSums(
  stream: Stream,
  entries: Span,
  updates: Binding,
  out: Binding,
  sizes: SegmentSizes,
  element: SummedElement,
  shared?: SharedUpdates,
): void {
  const { rows, width } = sizes;
  const vec = [width, updates.base, out.base].every((each) => each % 4 === 0);
  const step = vec ? 4 : 1;
  const block = blockOf(sizes.entries);
  const blocks = Math.ceil(sizes.entries / block);
  const units = width / step;
  const bytes = segmentBytes(sizes);
  const parts = stream.scratch(bytes.parts);
  const inUnits = ({ span, base }: Binding): Binding => ({ span, base: base / step });
  const to = inUnits(out);
  const { entries: count } = sizes;
  blocksKernel({ element, vec }, shared !== undefined).launch(stream, {
    uniforms: { rows, entries: count, width: units, block, per_row: shared?.perRow ?? 1 },
    buffers: { entries, weights: shared?.weights, updates: inUnits(updates), out: to, parts },
    workgroups: { invocations: blocks * units },
  });
  const begins = stream.scratch(bytes.begins);
  beginsKernel.launch(stream, {
    uniforms: { rows, entries: count },
    buffers: { entries, begins },
    workgroups: { invocations: rows + 1 },
  });
  rowsKernel({ element, vec }).launch(stream, {
    uniforms: { rows, width: units, block },
    buffers: { begins, parts, out: to },
    workgroups: { invocations: rows * units },
  });
  stream.release(begins);
  stream.release(parts);
}
