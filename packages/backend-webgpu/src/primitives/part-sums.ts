import type { Binding } from '../runtime/binding.js';
import { LARGEST_GRID } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { defineKernel, read, readFrom, write, writeTo } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { times } from '../wgsl/text.js';
import { text as joinText } from './part-sums-join.wgsl.js';
import { text as rowsText } from './part-sums-rows.wgsl.js';

/** Entries of a part: one for each invocation, which finds its place among them by counting. */
const PART = 256;
const UNITS = 16;
/** Entries of a lane: as many as a workgroup has units side by side. */
const EACH = UNITS;
/** More searches of a row in a part take longer than sorting all entries (docs/kernels/training.md). */
const MOST_SEARCHES = 2 ** 19;

interface SumsVariant {
  readonly element: 'f32' | 'i32';
  /** Four neighbours at once; otherwise one. */
  readonly vec: boolean;
}

const typeOf = ({ element, vec }: SumsVariant): string => (vec ? `vec4<${element}>` : element);

/**
 * Sums of the rows of a part, stored at where the row's run begins among its sorted entries, and the sorted rows. A run
 * that goes on in other lanes is joined in their order, so that a row of all entries takes no longer. 7 KiB of workgroup
 * memory.
 */
const rowsKernel = (variant: SumsVariant) =>
  defineKernel({
    key: `part-sums rows ${typeOf(variant)}`,
    uniforms: { rows: 'u32', count: 'u32', units: 'u32' },
    buffers: {
      indices: readFrom('i32'),
      updates: readFrom(typeOf(variant)),
      row_keys: write('u32'),
      sums: write(typeOf(variant)),
    },
    workgroup: PART,
    source: () => `alias Sum = ${typeOf(variant)};
${fill(rowsText, {
  loads: times(EACH, (i) => `let update_${i} = update_at(begin + ${i}u, unit);`, '\n  '),
  steps: times(EACH - 1, (i) => stepText(i + 1), '\n  '),
})}`,
  });

/** Entry i of a lane: it goes on with the run, or ends it. */
function stepText(i: number): string {
  return `if (sorted_keys[begin + ${i}u] != row) {
    if (is_head) {
      heads[local] = sum;
    } else if (row < params.rows && unit < params.units) {
      sums[(first + run) * params.units + unit] = sum;
    }
    is_head = false;
    row = sorted_keys[begin + ${i}u];
    run = begin + ${i}u;
    sum = update_${i};
  } else {
    sum += update_${i};
  }`;
}

/** Sums over the parts, in their order, of each row. 5 KiB of workgroup memory. */
const joinKernel = (variant: SumsVariant) =>
  defineKernel({
    key: `part-sums join ${typeOf(variant)}`,
    uniforms: {
      rows: 'u32',
      parts: 'u32',
      units: 'u32',
      rows_each: 'u32',
      tile: 'u32',
      lanes: 'u32',
    },
    buffers: { row_keys: read('u32'), sums: read(typeOf(variant)), out: writeTo(typeOf(variant)) },
    workgroup: PART,
    source: () => `const PART = ${PART}u;
alias Sum = ${typeOf(variant)};
${joinText}`,
  });

export interface PartSizes {
  readonly rows: number;
  readonly count: number;
  readonly width: number;
}

/** Whether `recordPartSums` takes sums of that size. */
export function takesPartSums({ rows, count, width }: PartSizes, bindingBytes: number): boolean {
  const parts = Math.ceil(count / PART);
  const isInGrid = parts <= LARGEST_GRID && Math.ceil(width / UNITS) <= LARGEST_GRID;
  return isInGrid && rows * parts <= MOST_SEARCHES && 4 * parts * PART * width <= bindingBytes;
}

/**
 * out[row] = sum of the updates [count, width] whose index is the row; zeros where there are none. Two launches: rows of
 * parts of the entries, then rows over the parts, both in a fixed order.
 */
export function recordPartSums(
  stream: Stream,
  indices: Binding,
  updates: Binding,
  out: Binding,
  { rows, count, width }: PartSizes,
  element: SumsVariant['element'],
): void {
  const vec = [width, updates.base, out.base].every((each) => each % 4 === 0);
  const step = vec ? 4 : 1;
  const units = width / step;
  const inUnits = ({ span, base }: Binding): Binding => ({ span, base: base / step });
  const parts = Math.ceil(count / PART);
  const rowKeys = stream.scratch(4 * parts * PART);
  const sums = stream.scratch(4 * parts * PART * width);
  rowsKernel({ element, vec }).launch(stream, {
    uniforms: { rows, count, units },
    buffers: { indices, updates: inUnits(updates), row_keys: rowKeys, sums },
    workgroups: [Math.ceil(units / UNITS), parts, 1],
  });
  const tile = Math.min(PART, 2 ** Math.ceil(Math.log2(parts)));
  const rowsEach = PART / tile;
  const lanes = Math.min(tile, Math.max(1, 2 ** Math.floor(Math.log2(PART / (rowsEach * units)))));
  joinKernel({ element, vec }).launch(stream, {
    uniforms: { rows, parts, units, rows_each: rowsEach, tile, lanes },
    buffers: { row_keys: rowKeys, sums, out: inUnits(out) },
    workgroups: Math.ceil(rows / rowsEach),
  });
  stream.release(rowKeys);
  stream.release(sums);
}
