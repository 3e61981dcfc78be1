/**
 * How a workgroup divides its work: `columns` threads across keys and value columns, `threads / columns` down the
 * queries. A thread owns `rows` queries (in groups of 4) and, for each, 4 keys of a step.
 */
export interface ExactTile {
  readonly threads: number;
  readonly columns: number;
  /** Queries per thread, a multiple of 4. */
  readonly rows: number;
  /** Dims of q and k staged at a time, a multiple of 4. */
  readonly dims: number;
  /** Keys whose values are staged at a time, a multiple of 4. */
  readonly values: number;
}

/** Queries per workgroup. */
export function tileQueries({ threads, columns, rows }: ExactTile): number {
  return (threads / columns) * rows;
}

/** Keys of one step of the loop. */
export function tileKeys({ columns }: ExactTile): number {
  return 4 * columns;
}

/** Groups of 4 value columns that a thread owns. */
export function valueVectors({ columns }: ExactTile, valueDim: number): number {
  return Math.ceil(valueDim / (4 * columns));
}

/** Dims of q and k, padded to whole slices. */
export function paddedDim({ dims }: ExactTile, headDim: number): number {
  return Math.ceil(headDim / dims) * dims;
}

/** The place of a thread's row r in the tile of queries: 4 neighbours, then the next group of 4. */
export function rowText(tile: ExactTile, row: number): string {
  const rowsApart = 4 * (tile.threads / tile.columns);
  return `ty * 4u + ${(row >> 2) * rowsApart + (row & 3)}u`;
}

/** Layout of the workgroup's memory, in groups of 4 floats. */
export interface TileMemory {
  /** Groups of 4 queries of one dim, plus one to avoid bank conflicts. */
  readonly queryStride: number;
  readonly keyStride: number;
  /** Staged q and k, or staged values. */
  readonly stage: number;
  readonly weights: number;
  readonly maxima: number;
}

export function tileMemory(tile: ExactTile, valueDim: number): TileMemory {
  const queryStride = tileQueries(tile) / 4 + 1;
  const keyStride = tileKeys(tile) / 4 + 1;
  const stagedValues = tile.values * valueVectors(tile, valueDim) * tile.columns;
  return {
    queryStride,
    keyStride,
    stage: Math.max(tile.dims * (queryStride + keyStride), stagedValues),
    weights: tileQueries(tile) * (tileKeys(tile) / 4),
    maxima: tile.columns * (tileQueries(tile) / 4),
  };
}

/** Workgroup memory in bytes; the last 16 are a flag. */
export function tileBytes(tile: ExactTile, valueDim: number): number {
  const { stage, weights, maxima } = tileMemory(tile, valueDim);
  return 16 * (stage + weights + maxima) + 16;
}

interface Choice {
  readonly tile: ExactTile;
  /** The tile is slow for wider values: more sums than registers. */
  readonly mostValueDim: number;
}

/** Best first; the first that fits is used. docs/kernels/exact.md has the measurements. */
const TILES: readonly Choice[] = [
  { tile: { threads: 128, columns: 8, rows: 4, dims: 32, values: 32 }, mostValueDim: 64 },
  { tile: { threads: 256, columns: 16, rows: 4, dims: 32, values: 16 }, mostValueDim: 128 },
  { tile: { threads: 128, columns: 8, rows: 4, dims: 16, values: 16 }, mostValueDim: 128 },
  { tile: { threads: 256, columns: 16, rows: 4, dims: 16, values: 8 }, mostValueDim: 256 },
  // These three fit the 16 KiB that every device has.
  { tile: { threads: 128, columns: 8, rows: 4, dims: 8, values: 16 }, mostValueDim: 64 },
  { tile: { threads: 128, columns: 8, rows: 4, dims: 8, values: 8 }, mostValueDim: 128 },
  { tile: { threads: 128, columns: 16, rows: 4, dims: 8, values: 4 }, mostValueDim: 256 },
];

/** For few queries (decoding), and for software adapters, where a short shader matters more than a fast one. */
const SMALL_TILES: readonly Choice[] = [
  { tile: { threads: 64, columns: 16, rows: 4, dims: 16, values: 16 }, mostValueDim: 64 },
  { tile: { threads: 64, columns: 16, rows: 4, dims: 16, values: 4 }, mostValueDim: 256 },
];

/** Up to this many queries, a small tile leaves less idle than a large one. */
const FEW_QUERIES = 16;

/** The tile for a shape on a device; undefined when none fits. */
export function chooseTile(
  { valueDim, queryLength }: { readonly valueDim: number; readonly queryLength: number },
  facts: {
    readonly workgroupBytes: number;
    readonly workgroupInvocations: number;
    readonly isSoftware: boolean;
  },
): ExactTile | undefined {
  const isSmall = facts.isSoftware || queryLength <= FEW_QUERIES;
  return (isSmall ? SMALL_TILES : TILES).find(
    ({ tile, mostValueDim }) =>
      valueDim <= mostValueDim &&
      tile.threads <= facts.workgroupInvocations &&
      tileBytes(tile, valueDim) <= facts.workgroupBytes,
  )?.tile;
}
