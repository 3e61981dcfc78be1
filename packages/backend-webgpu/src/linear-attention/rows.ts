import { LARGEST_GRID } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { text } from './rows.wgsl.js';
import type { RowsBuffers, RowsCall } from './rows-call.js';
import { TILE } from './sizes.js';
import { recordTotalRows } from './total-rows.js';

/** Tiles of 32 columns that a workgroup keeps sums of. */
const MOST_TILES = 4;
const STEP = 16;

interface Variant {
  /** Tiles of 32 columns. */
  readonly tiles: number;
  /** Whether rows may be hidden. */
  readonly keeps: boolean;
  /** Whether keys have log scales. */
  readonly scaled: boolean;
}

/**
 * Causal attention: for each row r of a tile of 32, A_r P + sum over the visible s of its chunk of (A_r . B_s) C_s, where P
 * are sums over other chunks. All products of linear attention have this form: outputs from queries, and, with columns of
 * ones, the gradients of queries, keys and values. One workgroup per tile of rows, up to 128 columns, and head. Passes over
 * memory: A once for P and once for each tile of pairs, P, B and C once per tile of rows. Sums run in the order of
 * positions. Workgroup memory: 4.8 KiB and 2 KiB for each 32 columns.
 */
const rowsKernel = kernelFamily('linear-attention rows', ({ tiles, keeps, scaled }: Variant) => ({
  uniforms: {
    backwards: 'u32',
    groups: 'u32',
    row_heads: 'u32',
    row_length: 'u32',
    row_offset: 'i32',
    first_row: 'i32',
    end_row: 'i32',
    first_position: 'i32',
    segment_start: 'i32',
    segment_end: 'i32',
    chunk: 'u32',
    other_heads: 'u32',
    other_length: 'u32',
    other_offset: 'i32',
    inner: 'u32',
    columns: 'u32',
    a_stride: 'u32',
    b_stride: 'u32',
    c_stride: 'u32',
    sums_size: 'u32',
    p_row: 'u32',
    p_column: 'u32',
    result_stride: 'u32',
    flag_stride: 'u32',
    keys: 'u32',
  },
  buffers: {
    a: read('f32'),
    p: read('f32'),
    b: read('f32'),
    c_rows: read('f32'),
    flags: optional(keeps, read('f32')),
    logs: optional(scaled, read('f32')),
    peaks: optional(scaled, read('f32')),
    result: write('f32'),
  },
  workgroup: [TILE, 8],
  source: () =>
    fill(text, {
      tiles,
      columns: 32 * tiles,
      right_size: STEP * 32 * tiles,
      right_loads: 2 * tiles,
      keeps,
      scaled,
    }),
}));

/** Rows of a launch: one tile less than workgroups lie side by side, as the first row may lie within a tile. */
const MOST_ROWS = TILE * (LARGEST_GRID - 1);

export function recordRows(stream: Stream, call: RowsCall, buffers: RowsBuffers): void {
  const record = call.causal ? recordCausalRows : recordTotalRows;
  for (let firstRow = call.firstRow; firstRow < call.endRow; firstRow += MOST_ROWS) {
    record(stream, { ...call, firstRow, endRow: Math.min(call.endRow, firstRow + MOST_ROWS) }, buffers);
  }
}

function recordCausalRows(
  stream: Stream,
  call: RowsCall,
  { a, p, b, c, flags, scales, result }: RowsBuffers,
): void {
  const { rowOffset, firstRow, endRow, start, columns, groups, rowHeads } = call;
  const tiles = Math.min(MOST_TILES, Math.ceil(columns / TILE));
  // Tiles begin where chunks do, so that none lies in two chunks.
  const firstPosition = start + TILE * Math.floor((firstRow + rowOffset - start) / TILE);
  const rowTiles = Math.ceil((endRow + rowOffset - firstPosition) / TILE);
  rowsKernel({ tiles, keeps: flags !== undefined, scaled: scales !== undefined }).launch(stream, {
    uniforms: {
      backwards: Number(call.backwards),
      groups,
      row_heads: rowHeads,
      row_length: call.rowLength,
      row_offset: rowOffset,
      first_row: firstRow,
      end_row: endRow,
      first_position: firstPosition,
      segment_start: start,
      segment_end: call.end,
      chunk: call.chunk,
      other_heads: call.otherHeads,
      other_length: call.otherLength,
      other_offset: call.otherOffset,
      inner: call.inner,
      columns,
      a_stride: a.stride,
      b_stride: b.stride,
      c_stride: c.stride,
      sums_size: call.sumsSize,
      p_row: call.sumsRow,
      p_column: call.sumsColumn,
      result_stride: result.stride,
      flag_stride: flags?.stride ?? 0,
      keys: call.keys,
    },
    buffers: {
      a: a.span,
      p,
      b: b.span,
      c_rows: c.span,
      flags: flags?.span,
      logs: scales?.logs,
      peaks: scales?.peaks,
      result: result.span,
    },
    workgroups: [rowTiles, Math.ceil(columns / (32 * tiles)), groups * rowHeads],
  });
}
