/**
 * A workgroup's part of the result: `rows` x `columns`, of which an invocation holds `microRows` x `microColumns` in
 * registers, with `depth` terms of the sums at a time in workgroup memory. All are multiples of 4.
 */
export interface MatmulTile {
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly microRows: 4 | 8 | 16;
  readonly microColumns: 4 | 8;
  /** Relative to the fastest tile's, where there are enough of either. */
  readonly speed: number;
}

/**
 * The same on matrix units: `down` x `across` subgroups share the part. All extents are multiples of 16 for each of them.
 */
export interface MatrixTile {
  readonly units: 'matrix';
  readonly rows: number;
  readonly columns: number;
  readonly depth: number;
  readonly down: number;
  readonly across: number;
  /** As above. */
  readonly speed: number;
}

/** Invocations of a subgroup on devices with products on matrix units. */
export const LANES = 32;

/** Invocations of a workgroup. */
export function invocationsOf(tile: MatmulTile | MatrixTile): number {
  if ('units' in tile) return LANES * tile.down * tile.across;
  return (tile.rows / tile.microRows) * (tile.columns / tile.microColumns);
}

/** Whether no tile of a product reaches beyond an edge. */
export function hasWholeTiles(
  tile: Pick<MatmulTile, 'rows' | 'columns' | 'depth'>,
  { rows, inner, columns }: Readonly<Record<'rows' | 'inner' | 'columns', number>>,
): boolean {
  return rows % tile.rows === 0 && columns % tile.columns === 0 && inner % tile.depth === 0;
}

/**
 * The start of `main` of a kernel in which each workgroup computes a tile of a part of the sums: the terms from `first` to
 * `end` of `part`, the `matrix`, its operands at `a_start` and `b_start`, and the tile's place, `tile_row` and `tile_column`.
 */
export function tileStart({ rows, columns }: Pick<MatmulTile, 'rows' | 'columns'>): string {
  return `@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let tiles_down = (params.rows + ${rows - 1}u) / ${rows}u;
  let tiles_across = (params.columns + ${columns - 1}u) / ${columns}u;
  let index = workgroup.x + workgroup.y * groups.x;
  let part = index / (tiles_down * tiles_across * params.batch);
  let first = part * params.terms;
  if (first >= params.inner) { return; }
  let end = min(first + params.terms, params.inner);
  let matrix = index / (tiles_down * tiles_across) % params.batch;
  let tile_row = index / tiles_across % tiles_down * ${rows}u;
  let tile_column = index % tiles_across * ${columns}u;
  let a_start = params.a_base + matrix * params.a_batch;
  let b_start = params.b_base + matrix * params.b_batch;`;
}
