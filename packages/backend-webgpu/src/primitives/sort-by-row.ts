import type { Binding } from '../runtime/binding.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, optional, read, readFrom, write } from '../wgsl/define-kernel.js';
import { text as countText } from './sort-by-row-count.wgsl.js';
import { text as moveText } from './sort-by-row-move.wgsl.js';
import { text as scanText } from './sort-by-row-scan.wgsl.js';

const INVOCATIONS = 256;
/** Entries per workgroup, four neighbours per invocation. */
const BLOCK = 4 * INVOCATIONS;
const DIGIT_BITS = 4;
const DIGITS = 2 ** DIGIT_BITS;

const constants = `const BLOCK = ${BLOCK}u;
const DIGITS = ${DIGITS}u;`;

/** The first pass takes the indices themselves, the others the entries as sorted so far. */
const sources = (first: boolean) => ({
  indices: optional(first, readFrom('i32')),
  entries: optional(!first, read('vec2u')),
});
const uniforms = {
  count: 'u32',
  blocks: 'u32',
  shift: 'u32',
  rows: 'u32',
  taken: 'u32',
  batch: 'u32',
} as const;

/** `key_at(entry)`, `position_at(entry)`: of the indices, or of the entries as sorted so far. */
function sourceText(first: boolean): string {
  return first
    ? `/** Rows count over the batch; dropped entries come last. */
fn key_at(at: u32) -> u32 {
  let row = indices[params.indices_base + at];
  return select(at / params.taken * params.rows + u32(row), params.batch * params.rows, row < 0 || u32(row) >= params.rows);
}
fn position_at(at: u32) -> u32 { return at; }`
    : `fn key_at(at: u32) -> u32 { return entries[at].x; }
fn position_at(at: u32) -> u32 { return entries[at].y; }`;
}

/** How many entries of each block have each digit, with digits as the first axis. */
const countKernel = (first: boolean) =>
  defineKernel({
    key: `sort-by-row count${first ? ' first' : ''}`,
    uniforms,
    buffers: { ...sources(first), counts: write('u32') },
    workgroup: INVOCATIONS,
    source: () => [constants, sourceText(first), countText].join('\n'),
  });

/** Exclusive sums of the counts of each digit, in place, one workgroup per digit; their total follows all counts. */
const scanKernel = defineKernel({
  key: 'sort-by-row scan',
  uniforms: { blocks: 'u32' },
  buffers: { counts: write('u32') },
  workgroup: INVOCATIONS,
  source: () => `${constants}\n${scanText}`,
});

/**
 * Moves each entry to its place: in order, from where its block's entries of that digit begin. Counters of two digits
 * share a word, one column for each invocation, and are summed along the invocations. 9 KiB of workgroup memory.
 */
const moveKernel = (first: boolean) =>
  defineKernel({
    key: `sort-by-row move${first ? ' first' : ''}`,
    uniforms,
    buffers: { ...sources(first), counts: read('u32'), moved: write('vec2u') },
    workgroup: INVOCATIONS,
    source: () => [constants, sourceText(first), moveText].join('\n'),
  });

export interface SortSizes {
  readonly batch: number;
  /** Indices per batch. */
  readonly taken: number;
  /** Rows per batch. */
  readonly rows: number;
}

/** Scratch of a sort, what it returns included. */
export function sortBytes(entries: number): number {
  return 16 * entries + countBytes(Math.ceil(entries / BLOCK));
}

function countBytes(blocks: number): number {
  return 4 * DIGITS * (blocks + 1);
}

/**
 * Returns scratch with (row, position) pairs, as two u32, in ascending order of rows and then of positions; rows count
 * over the batch, and an index outside them becomes row batch * rows. A radix sort by digits of 4 bits, stable because
 * an entry's place is a sum of counts; atomics only count. The caller releases the scratch.
 */
export function recordSortByRow(stream: Stream, indices: Binding, sizes: SortSizes): Span {
  const { batch, taken, rows } = sizes;
  const entries = batch * taken;
  const blocks = Math.ceil(entries / BLOCK);
  const passes = Math.ceil(Math.log2(batch * rows + 1) / DIGIT_BITS);
  const counts = stream.scratch(countBytes(blocks));
  let from = stream.scratch(8 * entries);
  let to = stream.scratch(8 * entries);
  for (let pass = 0; pass < passes; pass++) {
    const first = pass === 0;
    const step = { count: entries, blocks, shift: pass * DIGIT_BITS, rows, taken, batch };
    const source = first ? { indices } : { entries: from };
    countKernel(first).launch(stream, { uniforms: step, buffers: { ...source, counts }, workgroups: blocks });
    scanKernel.launch(stream, { uniforms: { blocks }, buffers: { counts }, workgroups: [DIGITS, 1, 1] });
    moveKernel(first).launch(stream, {
      uniforms: step,
      buffers: { ...source, counts, moved: to },
      workgroups: blocks,
    });
    [from, to] = [to, from];
  }
  stream.release(counts);
  stream.release(to);
  return from;
}
