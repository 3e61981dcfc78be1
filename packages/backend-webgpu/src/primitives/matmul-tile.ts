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
