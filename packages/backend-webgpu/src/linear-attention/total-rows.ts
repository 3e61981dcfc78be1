import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import type { RowsBuffers, RowsCall } from './rows-call.js';
import { columnTiles } from './sizes.js';
import { text } from './total-rows.wgsl.js';

/** Rows of a workgroup. */
const ROWS = 64;

interface Variant {
  /** Columns of a workgroup, 32 or 64. */
  readonly columns: number;
  /** Whether rows of A, and of the result, are whole fours. */
  readonly a_fours: boolean;
  readonly result_fours: boolean;
  /** Whether rows may be hidden. */
  readonly keeps: boolean;
}

/**
 * A_r P for each row r, where P are sums over all chunks: what `rows` computes, without pairs. One workgroup per 64 rows,
 * 32 or 64 columns, and head; an invocation sums 4 x 4. A column that would be alone in its tile, as the sum of weights
 * after 32 values, goes with the tile before it, two or four invocations a row. Passes over memory: A once per tile of
 * columns, P once per tile of rows. Each sum runs in the order of A's elements. Workgroup memory: 10.6 KiB at most.
 */
const rowsKernel = kernelFamily(
  'linear-attention total rows',
  ({ columns, a_fours, result_fours, keeps }: Variant) => ({
    uniforms: {
      row_heads: 'u32',
      row_length: 'u32',
      first_row: 'u32',
      end_row: 'u32',
      inner: 'u32',
      columns: 'u32',
      a_stride: 'u32',
      sums_size: 'u32',
      p_row: 'u32',
      p_column: 'u32',
      result_stride: 'u32',
      flag_stride: 'u32',
    },
    buffers: {
      a: read(a_fours ? 'vec4f' : 'f32'),
      p: read('f32'),
      flags: optional(keeps, read('f32')),
      result: write(result_fours ? 'vec4f' : 'f32'),
    },
    workgroup: [columns / 4, ROWS / 4],
    source: () => fill(text, { a_fours, result_fours, keeps }),
  }),
);

/** `recordRows` without causality. */
export function recordTotalRows(
  stream: Stream,
  { groups, rowHeads, rowLength, firstRow, endRow, inner, columns, sumsSize, sumsRow, sumsColumn }: RowsCall,
  { a, p, flags, result }: RowsBuffers,
): void {
  const tile = columns > 33 ? 64 : 32;
  const variant = {
    columns: tile,
    a_fours: (a.stride | inner) % 4 === 0,
    result_fours: (result.stride | columns) % 4 === 0,
    keeps: flags !== undefined,
  };
  rowsKernel(variant).launch(stream, {
    uniforms: {
      row_heads: rowHeads,
      row_length: rowLength,
      first_row: firstRow,
      end_row: endRow,
      inner,
      columns,
      a_stride: a.stride,
      sums_size: sumsSize,
      p_row: sumsRow,
      p_column: sumsColumn,
      result_stride: result.stride,
      flag_stride: flags?.stride ?? 0,
    },
    buffers: { a: a.span, p, flags: flags?.span, result: result.span },
    workgroups: [Math.ceil((endRow - firstRow) / ROWS), columnTiles(columns, tile), groups * rowHeads],
  });
}
