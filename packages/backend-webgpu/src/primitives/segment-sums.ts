import { gridOf, type Kernel, type Span, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { halfOf } from './wgsl-numbers.js';
import type { Window } from './windows.js';

const INVOCATIONS = 64;

export type SummedElement = 'f32' | 'f16' | 'i32';

interface SegmentParameters {
  readonly element: SummedElement;
  /** Four neighbours at once; else one. */
  readonly vec: boolean;
}

const params = `
struct Params { rows: u32, entries: u32, width: u32, block: u32, updates_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;`;

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

/** `update_at(unit)`, units being vectors or elements. */
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

/**
 * Sums of the segments of sorted entries, block by block: an invocation takes a unit of the width of a block of entries, in
 * order. A segment inside the block is a result; what the block has of one that begins before or ends after it is the
 * block's head or tail.
 */
function blocksKernel(parameters: SegmentParameters): Kernel {
  const { element, vec } = parameters;
  const sum = sumType(parameters);
  return {
    key: `segment-sums blocks ${element}${vec ? ' vec' : ''}`,
    buffers: ['read', 'read', 'write', 'write'],
    source: () => `${params}
@group(0) @binding(1) var<storage, read> entries: array<vec2u>;
@group(0) @binding(2) var<storage, read> updates: array<${updatesType(parameters)}>;
@group(0) @binding(3) var<storage, read_write> out: array<${outType(parameters)}>;
@group(0) @binding(4) var<storage, read_write> parts: array<${sum}>;
${element === 'f16' ? halfOf : ''}

fn put(at: u32, sum: ${sum}) { ${storeSum(parameters)} }
fn update_at(at: u32) -> ${sum} { return ${loadUpdate(parameters)}; }

@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  let block = at / params.width;
  let unit = at % params.width;
  let first = block * params.block;
  if (first >= params.entries) { return; }
  let end = min(first + params.block, params.entries);
  var row = entries[first].x;
  var begun_before = first > 0u && entries[max(first, 1u) - 1u].x == row;
  var sum = ${sum}();
  for (var i = first; i < end; i++) {
    let entry = entries[i];
    if (entry.x != row) {
      if (begun_before) {
        parts[2u * block * params.width + unit] = sum;
      } else {
        put(params.out_base + row * params.width + unit, sum);
      }
      begun_before = false;
      row = entry.x;
      sum = ${sum}();
    }
    // Dropped entries are the last ones.
    if (row >= params.rows) { return; }
    sum += update_at(params.updates_base + entry.y * params.width + unit);
  }
  let goes_on = end < params.entries && entries[min(end, params.entries - 1u)].x == row;
  if (begun_before) {
    parts[2u * block * params.width + unit] = sum;
  } else if (goes_on) {
    parts[(2u * block + 1u) * params.width + unit] = sum;
  } else {
    put(params.out_base + row * params.width + unit, sum);
  }
}`,
  };
}

/** Where the entries of each row begin, by bisection; one more than there are rows. */
const beginsKernel: Kernel = {
  key: 'segment-sums begins',
  buffers: ['read', 'write'],
  source: () => `${params}
@group(0) @binding(1) var<storage, read> entries: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> begins: array<u32>;

@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let row = id.x + id.y * groups.x * ${INVOCATIONS}u;
  if (row > params.rows) { return; }
  var low = 0u;
  var high = params.entries;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (entries[middle].x < row) { low = middle + 1u; } else { high = middle; }
  }
  begins[row] = low;
}`,
};

/** Rows without entries, and rows whose entries lie in several blocks: tail, then heads, in order. */
function rowsKernel(parameters: SegmentParameters): Kernel {
  const { element, vec } = parameters;
  const sum = sumType(parameters);
  return {
    key: `segment-sums rows ${element}${vec ? ' vec' : ''}`,
    buffers: ['read', 'read', 'write'],
    source: () => `${params}
@group(0) @binding(1) var<storage, read> begins: array<u32>;
@group(0) @binding(2) var<storage, read> parts: array<${sum}>;
@group(0) @binding(3) var<storage, read_write> out: array<${outType(parameters)}>;
${element === 'f16' ? halfOf : ''}

fn put(at: u32, sum: ${sum}) { ${storeSum(parameters)} }

@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  let row = at / params.width;
  let unit = at % params.width;
  if (row >= params.rows) { return; }
  let begin = begins[row];
  let end = begins[row + 1u];
  let first = begin / params.block;
  var sum = ${sum}();
  if (begin < end) {
    let last = (end - 1u) / params.block;
    if (first == last) { return; }
    sum = parts[(2u * first + 1u) * params.width + unit];
    for (var block = first + 1u; block <= last; block++) { sum += parts[2u * block * params.width + unit]; }
  }
  put(params.out_base + row * params.width + unit, sum);
}`,
  };
}

export interface SegmentSizes {
  readonly rows: number;
  readonly entries: number;
  readonly width: number;
}

/**
 * out[row] = sum of the updates whose (row, position) are entries, sorted; zeros where there are none. f16 that is not in
 * fours must have been cleared.
 */
export function recordSegmentSums(
  stream: Stream,
  entries: Span,
  updates: Window,
  out: Window,
  sizes: SegmentSizes,
  element: SummedElement,
): void {
  const { rows, width } = sizes;
  const vec = [width, updates.base, out.base].every((each) => each % 4 === 0);
  const step = vec ? 4 : 1;
  // Long enough that few parts are left, short enough that there are many blocks.
  const block = sizes.entries < 2 ** 17 ? 32 : 256;
  const blocks = Math.ceil(sizes.entries / block);
  const units = width / step;
  const parts = stream.scratch(8 * blocks * width);
  const uniforms = uniformWords([rows, sizes.entries, units, block, updates.base / step, out.base / step]);
  stream.launch({
    kernel: blocksKernel({ element, vec }),
    buffers: [entries, updates.span, out.span, parts],
    uniforms,
    workgroups: gridOf(Math.ceil((blocks * units) / INVOCATIONS)),
  });
  const begins = stream.scratch(4 * (rows + 1));
  stream.launch({
    kernel: beginsKernel,
    buffers: [entries, begins],
    uniforms,
    workgroups: gridOf(Math.ceil((rows + 1) / INVOCATIONS)),
  });
  stream.launch({
    kernel: rowsKernel({ element, vec }),
    buffers: [begins, parts, out.span],
    uniforms,
    workgroups: gridOf(Math.ceil((rows * units) / INVOCATIONS)),
  });
  stream.release(begins);
  stream.release(parts);
}
