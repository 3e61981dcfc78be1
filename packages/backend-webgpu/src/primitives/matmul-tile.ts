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

/** Invocations of a workgroup. */
export function invocationsOf(tile: MatmulTile): number {
  return (tile.rows / tile.microRows) * (tile.columns / tile.microColumns);
}
