import { gridOf, type Kernel, type Span, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { Range } from './range.js';
import { SCAN_TEXT } from './wgsl.js';

/**
 * The lists of kept units turned round: for every unit its tokens in ascending order, with the weights of those slots.
 *
 * A counting sort whose order does not depend on threads: a bit set [F, tokens] is filled with atomic ORs, running counts
 * of its words give each (token, unit) its place, a scan over units gives the first place of each list (rounded up to
 * vectors), and every slot is written where it belongs. Scratch: F * tokens / 4 bytes and the lists.
 */
export interface UnitLists {
  /** u32 [F], multiples of 4 */
  readonly starts: Span;
  /** u32 [F] */
  readonly counts: Span;
  /** i32 [capacity] */
  readonly tokens: Span;
  /** [capacity] each, in the order of the given values */
  readonly values: readonly Span[];
}

export interface UnitListsShape {
  readonly tokens: number;
  readonly k: number;
  readonly hidden: number;
}

/** Entries of the lists at most, with the padding of each. */
function listCapacity({ tokens, k, hidden }: UnitListsShape): number {
  return tokens * k + 4 * hidden;
}

/** Sizes in bytes of the buffers of `recordUnitLists` with so many value lists. */
export function unitListsSizes(shape: UnitListsShape, values: number): readonly number[] {
  const bits = 4 * Math.ceil(shape.tokens / 32) * shape.hidden;
  const list = 4 * listCapacity(shape);
  return [bits, bits, 4 * shape.hidden, 4 * shape.hidden, ...Array<number>(1 + values).fill(list)];
}

const setBits: Kernel = {
  key: 'feed-forward unit bits',
  buffers: ['read', 'write'],
  source: () => `
struct Params { count: u32, k: u32, words: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read_write> bits: array<atomic<u32>>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let at = (group.x + group.y * groups.x) * 256u + t;
  if (at >= params.count) { return; }
  let unit = indices[params.indices_base + at];
  let token = at / params.k;
  if (unit >= 0) { atomicOr(&bits[u32(unit) * params.words + token / 32u], 1u << (token % 32u)); }
}`,
};

const countWords: Kernel = {
  key: 'feed-forward unit counts',
  buffers: ['read', 'write', 'write'],
  source: () => `
struct Params { hidden: u32, words: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> bits: array<u32>;
@group(0) @binding(2) var<storage, read_write> before: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let unit = (group.x + group.y * groups.x) * 64u + t;
  if (unit >= params.hidden) { return; }
  var sum = 0u;
  for (var word = 0u; word < params.words; word++) {
    before[unit * params.words + word] = sum;
    sum += countOneBits(bits[unit * params.words + word]);
  }
  counts[unit] = sum;
}`,
};

const startLists: Kernel = {
  key: 'feed-forward unit starts',
  buffers: ['read', 'write'],
  source: () => `
struct Params { hidden: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> starts: array<u32>;
${SCAN_TEXT}
@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) t: u32) {
  var base = 0u;
  for (var first = 0u; first < params.hidden; first += 256u) {
    let unit = first + t;
    var size = 0u;
    if (unit < params.hidden) { size = (counts[unit] + 3u) & ~3u; }
    let through = scanned(size, t);
    if (unit < params.hidden) { starts[unit] = base + through - size; }
    base += scan_cells[255];
    workgroupBarrier();
  }
}`,
};

const fillLists: Kernel = {
  key: 'feed-forward unit lists',
  buffers: ['read', 'read', 'read', 'read', 'write', 'read', 'write'],
  source: () => `
struct Params { count: u32, k: u32, words: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> bits: array<u32>;
@group(0) @binding(3) var<storage, read> before: array<u32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read_write> tokens: array<i32>;
@group(0) @binding(6) var<storage, read> values: array<f32>;
@group(0) @binding(7) var<storage, read_write> sorted: array<f32>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let at = (group.x + group.y * groups.x) * 256u + t;
  if (at >= params.count) { return; }
  let unit = indices[params.indices_base + at];
  if (unit < 0) { return; }
  let token = at / params.k;
  let word = u32(unit) * params.words + token / 32u;
  let place = starts[u32(unit)] + before[word] + countOneBits(bits[word] & ((1u << (token % 32u)) - 1u));
  tokens[place] = i32(token);
  sorted[place] = values[at];
}`,
};

/** `values`: scratch [tokens, k] each. Release the result with `releaseUnitLists`. */
export function recordUnitLists(
  stream: Stream,
  shape: UnitListsShape,
  indices: Range,
  values: readonly Span[],
): UnitLists {
  const { tokens, k, hidden } = shape;
  const words = Math.ceil(tokens / 32);
  const bits = stream.scratch(4 * words * hidden);
  const before = stream.scratch(4 * words * hidden);
  const counts = stream.scratch(4 * hidden);
  const starts = stream.scratch(4 * hidden);
  const slots = uniformWords([tokens * k, k, words, indices.base]);
  stream.clear(bits);
  stream.launch({
    kernel: setBits,
    buffers: [indices.span, bits],
    uniforms: slots,
    workgroups: gridOf(Math.ceil((tokens * k) / 256)),
  });
  stream.launch({
    kernel: countWords,
    buffers: [bits, before, counts],
    uniforms: uniformWords([hidden, words]),
    workgroups: gridOf(Math.ceil(hidden / 64)),
  });
  stream.launch({
    kernel: startLists,
    buffers: [counts, starts],
    uniforms: uniformWords([hidden]),
    workgroups: [1, 1, 1],
  });
  const capacity = 4 * listCapacity(shape);
  const ofTokens = stream.scratch(capacity);
  const sorted = values.map(() => stream.scratch(capacity));
  // One value list at a time: a kernel has at most 8 storage buffers.
  for (const [index, from] of values.entries()) {
    stream.launch({
      kernel: fillLists,
      buffers: [indices.span, bits, before, starts, ofTokens, from, sorted[index] as Span],
      uniforms: slots,
      workgroups: gridOf(Math.ceil((tokens * k) / 256)),
    });
  }
  stream.release(bits);
  stream.release(before);
  return { starts, counts, tokens: ofTokens, values: sorted };
}

export function releaseUnitLists(stream: Stream, lists: UnitLists): void {
  for (const span of [lists.starts, lists.counts, lists.tokens, ...lists.values]) stream.release(span);
}

const listSums: Kernel = {
  key: 'feed-forward unit sums',
  buffers: ['read', 'read', 'read', 'write'],
  source: () => `
struct Params { hidden: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read> counts: array<u32>;
@group(0) @binding(3) var<storage, read> values: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let unit = (group.x + group.y * groups.x) * 64u + t;
  if (unit >= params.hidden) { return; }
  var sum = 0.0;
  for (var i = 0u; i < counts[unit]; i++) { sum += values[starts[unit] + i]; }
  out[params.out_base + unit] += sum;
}`,
};

/** out[unit] += sum of a value list. */
export function recordListSums(
  stream: Stream,
  hidden: number,
  lists: UnitLists,
  values: Span,
  out: Range,
): void {
  stream.launch({
    kernel: listSums,
    buffers: [lists.starts, lists.counts, values, out.span],
    uniforms: uniformWords([hidden, out.base]),
    workgroups: gridOf(Math.ceil(hidden / 64)),
  });
}

const slotCounts: Kernel = {
  key: 'feed-forward slot counts',
  buffers: ['read', 'read', 'write'],
  source: () => `
struct Params { tokens: u32, k: u32, indices_base: u32, kept_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> kept: array<f32>;
@group(0) @binding(3) var<storage, read_write> counts: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let token = (group.x + group.y * groups.x) * 64u + t;
  if (token >= params.tokens) { return; }
  let list = params.indices_base + token * params.k;
  var low = 0u;
  var high = params.k;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (indices[list + middle] >= 0) { low = middle + 1u; } else { high = middle; }
  }
  let is_nan = (bitcast<u32>(kept[params.kept_base + token * params.k]) & 0x7fffffffu) > 0x7f800000u;
  counts[token] = select(low, 0xffffffffu, is_nan);
}`,
};

/** counts [tokens]: slots in use of each token, 0xffffffff where its pre-activations are NaN. */
export function recordSlotCounts(
  stream: Stream,
  tokens: number,
  k: number,
  indices: Range,
  kept: Range,
  counts: Span,
): void {
  stream.launch({
    kernel: slotCounts,
    buffers: [indices.span, kept.span, counts],
    uniforms: uniformWords([tokens, k, indices.base, kept.base]),
    workgroups: gridOf(Math.ceil(tokens / 64)),
  });
}
