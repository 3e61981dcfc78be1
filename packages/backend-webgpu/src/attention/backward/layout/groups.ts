/**
 * What is processed at a time: whole units, or a range of rows of one. A unit is one key head of one sequence; its
 * rows are the queries of all query heads that share it, head after head. Rows of all units are consecutive in q, dO
 * and the lists.
 */
export interface Group {
  readonly firstUnit: number;
  readonly units: number;
  /** Row of the group's first query, counted over all units. */
  readonly firstRow: number;
  readonly rowsPerUnit: number;
  /** Whether earlier groups have written gradients of the same keys. */
  readonly adds: boolean;
  /** Whether no later group adds to them. */
  readonly isLast: boolean;
}

/** How the entries (query, kept key) of a group are sorted by key. */
export interface SortGeometry {
  readonly units: number;
  readonly rowsPerUnit: number;
  readonly slots: number;
  readonly keys: number;
  readonly keysPerTileLog2: number;
  readonly tiles: number;
  /** Tiles, and entries of a block of rows, that fit the staging kernel; 0 entries: not staged. */
  readonly tileCapacity: number;
  readonly stagedEntries: number;
  readonly rowsPerBlock: number;
  readonly rowBlocks: number;
  readonly blockEntries: number;
  /** Blocks of entries of one unit; each holds entries of one tile only, so tiles begin with a new block. */
  readonly entryBlocks: number;
  readonly pieceEntries: number;
}
