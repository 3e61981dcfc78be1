import type { Binding } from '../runtime/binding.js';
import { LARGEST_GRID, type Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { halfOf } from '../wgsl/numbers.js';
import { halfAt } from './elementwise-program-text.js';
import { helperText } from './elementwise-wgsl.js';

const INVOCATIONS = 256;
/** Columns that a workgroup sums, and rows it goes through side by side. */
const COLUMNS = 64;
const SIDE_BY_SIDE = INVOCATIONS / COLUMNS;
/** The same for the kernel that joins the parts' sums: fewer columns, so that no invocation loops for long. */
const LAST_COLUMNS = 16;
const LAST_SIDE_BY_SIDE = INVOCATIONS / LAST_COLUMNS;
/** Most parts that rows are divided into. */
const MOST_PARTS = 256;
/** Columns that a grid reaches whose workgroups have `LAST_COLUMNS` each. */
export const MOST_COLUMNS: number = LAST_COLUMNS * LARGEST_GRID;

/** Number of parts into which sums over that many rows are divided. */
export function partsOf(rows: number): number {
  return Math.max(1, Math.min(MOST_PARTS, Math.ceil(rows / (8 * SIDE_BY_SIDE))));
}

/** Sums over the rows of [rows, width], in f32: parts of the rows first, then the parts, always in the same order. */
export function recordColumnSums(
  stream: Stream,
  {
    x,
    out,
    rows,
    width,
    halfIn,
    halfOut,
  }: {
    readonly x: Binding;
    readonly out: Binding;
    readonly rows: number;
    readonly width: number;
    /** Whether x and out are f16. */
    readonly halfIn: boolean;
    readonly halfOut: boolean;
  },
): void {
  const parts = partsOf(rows);
  const sums = stream.scratch(4 * parts * width);
  partsKernel({ half: halfIn }).launch(stream, {
    uniforms: { rows, width, rows_per_part: Math.ceil(rows / parts) },
    buffers: { x, sums: { span: sums, base: 0 } },
    workgroups: partsGrid(parts, width),
  });
  recordTotals(stream, sums, out, parts, width, halfOut);
  stream.release(sums);
}

/**
 * Joins the sums of parts, [parts, width] f32; of f16, `totals` begins with a whole word. With `second`, the latter half of
 * the columns goes there: of f16, the halves have an even width.
 */
export function recordTotals(
  stream: Stream,
  sums: Span,
  totals: Binding,
  parts: number,
  width: number,
  half: boolean,
  second?: Binding,
): void {
  const inWords = ({ span, base }: Binding): Binding => ({ span, base: half ? base / 2 : base });
  totalsKernel({ half, two: second !== undefined }).launch(stream, {
    uniforms: { parts, width },
    buffers: { part_sums: sums, totals: inWords(totals), second: second && inWords(second) },
    workgroups: Math.ceil(width / LAST_COLUMNS),
  });
}

/**
 * WGSL of a kernel that sums the rows of a part by columns, for one or two sums at a time (f32 or vec2f): invocations
 * walk rows side by side, and their sums are joined in order. `term` is a row's contribution, `store` writes `sum` to
 * its place.
 */
export function partsSource(type: 'f32' | 'vec2f', term: string, store: string): string {
  return `const COLUMNS = ${COLUMNS}u;
var<workgroup> joined: array<${type}, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = workgroup.x * COLUMNS + local % COLUMNS;
  let first = workgroup.y * params.rows_per_part;
  let end = min(params.rows, first + params.rows_per_part);
  var sum = ${type}(0.0);
  if (column < params.width) {
    for (var row = first + local / COLUMNS; row < end; row += ${SIDE_BY_SIDE}u) {
      let at = row * params.width + column;
      ${term}
    }
  }
  joined[local] = sum;
  workgroupBarrier();
  if (local >= COLUMNS || column >= params.width) { return; }
  for (var other = 1u; other < ${SIDE_BY_SIDE}u; other++) { sum += joined[local + other * COLUMNS]; }
  let place = workgroup.y * params.width + column;
  ${store}
}`;
}

/** Workgroups of a kernel from `partsSource`. */
export function partsGrid(parts: number, width: number): readonly [number, number, number] {
  return [Math.ceil(width / COLUMNS), parts, 1];
}

export const PARTS_INVOCATIONS: number = INVOCATIONS;

interface Stored {
  /** f16 */
  readonly half: boolean;
}

const partsKernel = kernelFamily('column-sums parts', ({ half }: Stored) => ({
  uniforms: { rows: 'u32', width: 'u32', rows_per_part: 'u32' },
  buffers: { x: readFrom(half ? 'u32' : 'f32'), sums: writeTo('f32') },
  workgroup: INVOCATIONS,
  source: () =>
    `${half ? `${helperText(['halfToBits'])}\n${loadHalf('x')}` : ''}
${partsSource(
  'f32',
  `sum += ${half ? 'load_x(params.x_base + at)' : 'x[params.x_base + at]'};`,
  'sums[params.sums_base + place] = sum;',
)}`,
}));

/** `load_NAME(at)`: an element of f16, exact. Needs the helper 'halfToBits'. */
export function loadHalf(name: string): string {
  return `fn load_${name}(at: u32) -> f32 { return ${halfAt(name)}; }`;
}

interface TotalsVariant extends Stored {
  /** Whether the columns go to two results. */
  readonly two: boolean;
}

/** `put(column, value)`: of f16, a word at an even column. */
function putTotals({ half, two }: TotalsVariant): string {
  const place = (column: string): string => (half ? `(${column}) / 2u` : column);
  const first = `totals[params.totals_base + ${place('column')}] = value;`;
  const other = `second[params.second_base + ${place('column - params.width / 2u')}] = value;`;
  return `fn put(column: u32, value: ${half ? 'u32' : 'f32'}) {
  ${two ? `if (column >= params.width / 2u) { ${other} } else { ${first} }` : first}
}`;
}

const totalsKernel = kernelFamily('column-sums totals', ({ half, two }: TotalsVariant) => ({
  uniforms: { parts: 'u32', width: 'u32' },
  buffers: {
    part_sums: read('f32'),
    totals: writeTo(half ? 'u32' : 'f32'),
    second: optional(two, writeTo(half ? 'u32' : 'f32')),
  },
  workgroup: INVOCATIONS,
  source: () => `${half ? halfOf : ''}
${putTotals({ half, two })}
const COLUMNS = ${LAST_COLUMNS}u;
var<workgroup> joined: array<f32, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) local: u32,
) {
  let first = (workgroup.x + workgroup.y * groups.x) * COLUMNS;
  let column = first + local % COLUMNS;
  var sum = 0.0;
  if (column < params.width) {
    for (var part = local / COLUMNS; part < params.parts; part += ${LAST_SIDE_BY_SIDE}u) {
      sum += part_sums[part * params.width + column];
    }
  }
  joined[local] = sum;
  workgroupBarrier();
  ${
    half
      ? `// Each writes the two columns of a word.
  let even = first + 2u * local;
  if (2u * local >= COLUMNS || even >= params.width) { return; }
  var word = 0u;
  for (var half = 0u; half < 2u && even + half < params.width; half++) {
    var total = 0.0;
    for (var other = 0u; other < ${LAST_SIDE_BY_SIDE}u; other++) {
      total += joined[2u * local + half + other * COLUMNS];
    }
    word |= half_of(total) << (16u * half);
  }
  put(even, word);`
      : `if (local >= COLUMNS || column >= params.width) { return; }
  for (var other = 1u; other < ${LAST_SIDE_BY_SIDE}u; other++) { sum += joined[local + other * COLUMNS]; }
  put(column, sum);`
  }
}`,
}));
