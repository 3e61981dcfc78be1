import type { Binding } from '../runtime/binding.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, read, readFrom, write, writeTo } from '../wgsl/define-kernel.js';
import { text as scanText } from '../wgsl/scan.wgsl.js';
import { forEachElement } from '../wgsl/text.js';

/**
 * The inverted lists of kept units: for every unit its tokens in ascending order, with the weights of those slots.
 *
 * A counting sort whose order does not depend on threads: a bit set [F, tokens] is filled with atomic ORs, running
 * counts of its words give each (token, unit) its place, a scan over units gives the first place of each list (rounded
 * up to vectors), and every slot is written where it belongs. Scratch: F * tokens / 4 bytes and the lists.
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

/** Most entries of the lists, including the padding of each. */
function listCapacity({ tokens, k, hidden }: UnitListsShape): number {
  return tokens * k + 4 * hidden;
}

/** Sizes in bytes of the buffers of `recordUnitLists` with `values` value lists. */
export function unitListsSizes(shape: UnitListsShape, values: number): readonly number[] {
  const bits = 4 * Math.ceil(shape.tokens / 32) * shape.hidden;
  const list = 4 * listCapacity(shape);
  return [bits, bits, 4 * shape.hidden, 4 * shape.hidden, ...Array<number>(1 + values).fill(list)];
}

const setBits = defineKernel({
  key: 'feed-forward unit bits',
  uniforms: { count: 'u32', k: 'u32', words: 'u32' },
  buffers: { indices: readFrom('i32'), bits: write('atomic<u32>') },
  workgroup: 256,
  source: () =>
    forEachElement(`let unit = indices[params.indices_base + at];
  let token = at / params.k;
  if (unit >= 0) { atomicOr(&bits[u32(unit) * params.words + token / 32u], 1u << (token % 32u)); }`),
});

const countWords = defineKernel({
  key: 'feed-forward unit counts',
  uniforms: { count: 'u32', words: 'u32' },
  buffers: { bits: read('u32'), before: write('u32'), counts: write('u32') },
  workgroup: 64,
  source: () =>
    forEachElement(`var sum = 0u;
  for (var word = 0u; word < params.words; word++) {
    before[at * params.words + word] = sum;
    sum += countOneBits(bits[at * params.words + word]);
  }
  counts[at] = sum;`),
});

const startLists = defineKernel({
  key: 'feed-forward unit starts',
  uniforms: { hidden: 'u32' },
  buffers: { counts: read('u32'), starts: write('u32') },
  workgroup: 256,
  source: () => `${scanText}
@compute @workgroup_size(INVOCATIONS)
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
});

const fillLists = defineKernel({
  key: 'feed-forward unit lists',
  uniforms: { count: 'u32', k: 'u32', words: 'u32' },
  buffers: {
    indices: readFrom('i32'),
    bits: read('u32'),
    before: read('u32'),
    starts: read('u32'),
    tokens: write('i32'),
    values: read('f32'),
    sorted: write('f32'),
  },
  workgroup: 256,
  source: () =>
    forEachElement(`let unit = indices[params.indices_base + at];
  if (unit < 0) { return; }
  let token = at / params.k;
  let word = u32(unit) * params.words + token / 32u;
  let place = starts[u32(unit)] + before[word] + countOneBits(bits[word] & ((1u << (token % 32u)) - 1u));
  tokens[place] = i32(token);
  sorted[place] = values[at];`),
});

/** `values`: scratch [tokens, k] each. Release the result with `releaseUnitLists`. */
export function recordUnitLists(
  stream: Stream,
  shape: UnitListsShape,
  indices: Binding,
  values: readonly Span[],
): UnitLists {
  const { tokens, k, hidden } = shape;
  const count = tokens * k;
  const words = Math.ceil(tokens / 32);
  const bits = stream.scratch(4 * words * hidden);
  const before = stream.scratch(4 * words * hidden);
  const counts = stream.scratch(4 * hidden);
  const starts = stream.scratch(4 * hidden);
  const slots = { uniforms: { count, k, words }, workgroups: { invocations: count } };
  stream.clear(bits);
  setBits.launch(stream, { ...slots, buffers: { indices, bits } });
  countWords.launch(stream, {
    uniforms: { count: hidden, words },
    buffers: { bits, before, counts },
    workgroups: { invocations: hidden },
  });
  startLists.launch(stream, { uniforms: { hidden }, buffers: { counts, starts }, workgroups: 1 });
  const capacity = 4 * listCapacity(shape);
  const ofTokens = stream.scratch(capacity);
  const sorted = values.map(() => stream.scratch(capacity));
  // One value list at a time: a kernel has at most 8 storage buffers.
  for (const [index, from] of values.entries()) {
    const lists = { tokens: ofTokens, values: from, sorted: sorted[index] as Span };
    fillLists.launch(stream, { ...slots, buffers: { indices, bits, before, starts, ...lists } });
  }
  stream.release(bits);
  stream.release(before);
  return { starts, counts, tokens: ofTokens, values: sorted };
}

export function releaseUnitLists(stream: Stream, lists: UnitLists): void {
  for (const span of [lists.starts, lists.counts, lists.tokens, ...lists.values]) stream.release(span);
}

const listSums = defineKernel({
  key: 'feed-forward unit sums',
  uniforms: { count: 'u32' },
  buffers: { starts: read('u32'), counts: read('u32'), values: read('f32'), out: writeTo('f32') },
  workgroup: 64,
  source: () =>
    forEachElement(`var sum = 0.0;
  for (var i = 0u; i < counts[at]; i++) { sum += values[starts[at] + i]; }
  out[params.out_base + at] += sum;`),
});

/** out[unit] += sum of a value list. */
export function recordListSums(
  stream: Stream,
  hidden: number,
  { starts, counts }: UnitLists,
  values: Span,
  out: Binding,
): void {
  listSums.launch(stream, {
    uniforms: { count: hidden },
    buffers: { starts, counts, values, out },
    workgroups: { invocations: hidden },
  });
}

const slotCounts = defineKernel({
  key: 'feed-forward slot counts',
  uniforms: { count: 'u32', k: 'u32' },
  buffers: { indices: readFrom('i32'), kept: readFrom('f32'), counts: write('u32') },
  workgroup: 64,
  source: () =>
    forEachElement(`let list = params.indices_base + at * params.k;
  var low = 0u;
  var high = params.k;
  while (low < high) {
    let middle = (low + high) / 2u;
    if (indices[list + middle] >= 0) { low = middle + 1u; } else { high = middle; }
  }
  let is_nan = (bitcast<u32>(kept[params.kept_base + at * params.k]) & 0x7fffffffu) > 0x7f800000u;
  counts[at] = select(low, 0xffffffffu, is_nan);`),
});

/** counts [tokens]: slots in use of each token, 0xffffffff where its pre-activations are NaN. */
export function recordSlotCounts(
  stream: Stream,
  tokens: number,
  k: number,
  indices: Binding,
  kept: Binding,
  counts: Span,
): void {
  slotCounts.launch(stream, {
    uniforms: { count: tokens, k },
    buffers: { indices, kept, counts },
    workgroups: { invocations: tokens },
  });
}
