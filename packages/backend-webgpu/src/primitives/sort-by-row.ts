import { gridOf, type Kernel, type Span, uniformWords } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { Window } from './windows.js';

const INVOCATIONS = 256;
/** Entries of a workgroup, four neighbours to an invocation. */
const BLOCK = 4 * INVOCATIONS;
const DIGIT_BITS = 4;
const DIGITS = 2 ** DIGIT_BITS;

const params = `
struct Params { entries: u32, blocks: u32, shift: u32, base: u32, rows: u32, taken: u32, batch: u32 }
@group(0) @binding(0) var<uniform> params: Params;
const INVOCATIONS = ${INVOCATIONS}u;
const BLOCK = ${BLOCK}u;
const DIGITS = ${DIGITS}u;`;

/** `key_at(entry)`, `position_at(entry)`: of the indices, or of the entries as sorted so far. */
function source(first: boolean): string {
  return first
    ? `@group(0) @binding(1) var<storage, read> indices: array<i32>;
/** Rows count over the batch; dropped entries come last. */
fn key_at(at: u32) -> u32 {
  let row = indices[params.base + at];
  return select(at / params.taken * params.rows + u32(row), params.batch * params.rows, row < 0 || u32(row) >= params.rows);
}
fn position_at(at: u32) -> u32 { return at; }`
    : `@group(0) @binding(1) var<storage, read> entries: array<vec2u>;
fn key_at(at: u32) -> u32 { return entries[at].x; }
fn position_at(at: u32) -> u32 { return entries[at].y; }`;
}

/** How many entries of each block have each digit, digits first. */
function countKernel(first: boolean): Kernel {
  return {
    key: `sort-by-row count${first ? ' first' : ''}`,
    buffers: ['read', 'write'],
    source: () => `${params}
${source(first)}
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
var<workgroup> histogram: array<atomic<u32>, DIGITS>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let block = workgroup.x + workgroup.y * groups.x;
  if (block >= params.blocks) { return; }
  if (local < DIGITS) { atomicStore(&histogram[local], 0u); }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    let at = block * BLOCK + i * INVOCATIONS + local;
    if (at < params.entries) { atomicAdd(&histogram[(key_at(at) >> params.shift) % DIGITS], 1u); }
  }
  workgroupBarrier();
  if (local < DIGITS) { counts[local * params.blocks + block] = atomicLoad(&histogram[local]); }
}`,
  };
}

/** Exclusive sums of the counts of each digit, in place, a workgroup a digit; their total follows all counts. */
const scanKernel: Kernel = {
  key: 'sort-by-row scan',
  buffers: ['write'],
  source: () => `${params}
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
var<workgroup> scanned: array<u32, INVOCATIONS>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let start = workgroup.x * params.blocks;
  var before = 0u;
  for (var tile = 0u; tile < params.blocks; tile += 4u * INVOCATIONS) {
    let first = tile + 4u * local;
    var mine = vec4u();
    for (var i = 0u; i < 4u; i++) {
      if (first + i < params.blocks) { mine[i] = counts[start + first + i]; }
    }
    let total = mine.x + mine.y + mine.z + mine.w;
    scanned[local] = total;
    workgroupBarrier();
    for (var step = 1u; step < INVOCATIONS; step <<= 1u) {
      let sum = scanned[local] + select(0u, scanned[max(local, step) - step], local >= step);
      workgroupBarrier();
      scanned[local] = sum;
      workgroupBarrier();
    }
    var sum = before + scanned[local] - total;
    for (var i = 0u; i < 4u; i++) {
      if (first + i < params.blocks) {
        counts[start + first + i] = sum;
        sum += mine[i];
      }
    }
    before += scanned[INVOCATIONS - 1u];
    workgroupBarrier();
  }
  if (local == 0u) { counts[DIGITS * params.blocks + workgroup.x] = before; }
}`,
};

/**
 * Moves each entry to where its digit's entries of its block begin, in order. Counters of two digits share a word, one
 * column for each invocation, and are summed along the invocations. 9 KiB of workgroup memory.
 */
function moveKernel(first: boolean): Kernel {
  return {
    key: `sort-by-row move${first ? ' first' : ''}`,
    buffers: ['read', 'read', 'write'],
    source: () => `${params}
${source(first)}
@group(0) @binding(2) var<storage, read> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> moved: array<vec2u>;
const PAIRS = DIGITS / 2u;
/** Invocations that sum a row of counters, and the counters each of them has. */
const SUMMING = INVOCATIONS / PAIRS;
const EACH = INVOCATIONS / SUMMING;
var<workgroup> counters: array<u32, ${(DIGITS / 2) * INVOCATIONS}>;
/** Where the block's entries of each digit go. */
var<workgroup> starts: array<u32, DIGITS>;
var<workgroup> scanned: array<u32, INVOCATIONS>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let block = workgroup.x + workgroup.y * groups.x;
  if (block >= params.blocks) { return; }
  if (local < DIGITS) {
    var begin = counts[local * params.blocks + block];
    for (var digit = 0u; digit < local; digit++) { begin += counts[DIGITS * params.blocks + digit]; }
    starts[local] = begin;
  }
  for (var pair = 0u; pair < PAIRS; pair++) { counters[pair * INVOCATIONS + local] = 0u; }
  let start = block * BLOCK + 4u * local;
  var keys = vec4u();
  var ranks = vec4u();
  for (var i = 0u; i < 4u; i++) {
    if (start + i < params.entries) {
      keys[i] = key_at(start + i);
      let digit = (keys[i] >> params.shift) % DIGITS;
      let counter = digit % PAIRS * INVOCATIONS + local;
      let shift = 16u * (digit / PAIRS);
      ranks[i] = (counters[counter] >> shift) & 0xffffu;
      counters[counter] += 1u << shift;
    }
  }
  workgroupBarrier();
  let pair = local / SUMMING;
  let lane = local % SUMMING;
  let run = pair * INVOCATIONS + lane * EACH;
  var total = 0u;
  for (var i = 0u; i < EACH; i++) { total += counters[run + i]; }
  scanned[local] = total;
  workgroupBarrier();
  for (var step = 1u; step < SUMMING; step <<= 1u) {
    let sum = scanned[local] + select(0u, scanned[max(local, step) - step], lane >= step);
    workgroupBarrier();
    scanned[local] = sum;
    workgroupBarrier();
  }
  var before = scanned[local] - total;
  for (var i = 0u; i < EACH; i++) {
    let count = counters[run + i];
    counters[run + i] = before;
    before += count;
  }
  workgroupBarrier();
  for (var i = 0u; i < 4u; i++) {
    if (start + i < params.entries) {
      let digit = (keys[i] >> params.shift) % DIGITS;
      let earlier = (counters[digit % PAIRS * INVOCATIONS + local] >> (16u * (digit / PAIRS))) & 0xffffu;
      moved[starts[digit] + earlier + ranks[i]] = vec2u(keys[i], position_at(start + i));
    }
  }
}`,
  };
}

export interface SortSizes {
  readonly batch: number;
  /** Indices of each batch. */
  readonly taken: number;
  /** Rows of each batch. */
  readonly rows: number;
}

/**
 * Scratch of (row, position) pairs, as two u32, in ascending order of rows and then of positions; rows count over the
 * batch, and an index outside of them becomes row batch * rows. A radix sort by digits of 4 bits, stable because an entry's place is a sum
 * of counts; atomics only count. The caller releases it.
 */
export function recordSortByRow(stream: Stream, indices: Window, sizes: SortSizes): Span {
  const { batch, taken, rows } = sizes;
  const entries = batch * taken;
  const blocks = Math.ceil(entries / BLOCK);
  const passes = Math.ceil(Math.log2(batch * rows + 1) / DIGIT_BITS);
  const counts = stream.scratch(4 * DIGITS * (blocks + 1));
  let from = stream.scratch(8 * entries);
  let to = stream.scratch(8 * entries);
  for (let pass = 0; pass < passes; pass++) {
    const first = pass === 0;
    const uniforms = uniformWords([entries, blocks, pass * DIGIT_BITS, indices.base, rows, taken, batch]);
    const source = first ? indices.span : from;
    const workgroups = gridOf(blocks);
    stream.launch({ kernel: countKernel(first), buffers: [source, counts], uniforms, workgroups });
    stream.launch({ kernel: scanKernel, buffers: [counts], uniforms, workgroups: [DIGITS, 1, 1] });
    stream.launch({ kernel: moveKernel(first), buffers: [source, counts, to], uniforms, workgroups });
    [from, to] = [to, from];
  }
  stream.release(counts);
  stream.release(to);
  return from;
}
