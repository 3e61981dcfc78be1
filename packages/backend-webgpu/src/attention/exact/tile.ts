/**
 * How a workgroup divides its work: `columns` threads across keys and value columns, `threads / columns` down the
 * queries. A thread owns `rows` queries (in groups of 4) and, for each, `keyVectors` groups of 4 keys.
 */
export interface ExactTile {
  readonly threads: number;
  readonly columns: number;
  /** Queries of a thread, a multiple of 4. */
  readonly rows: number;
  readonly keyVectors: number;
  /** Dims of q and k staged at a time, a multiple of 4. */
  readonly dims: number;
  /** Keys whose values are staged at a time, a multiple of 4. */
  readonly values: number;
  /** True to keep the whole query tile in workgroup memory; false to stage it again for every key tile. */
  readonly residentQueries: boolean;
}

/** Queries of a workgroup. */
export function tileQueries({ threads, columns, rows }: ExactTile): number {
  return (threads / columns) * rows;
}

/** Keys of one step of the loop. */
export function tileKeys({ columns, keyVectors }: ExactTile): number {
  return 4 * columns * keyVectors;
}

/** Groups of 4 value columns that a thread owns. */
export function valueVectors({ columns }: ExactTile, valueDim: number): number {
  return Math.ceil(valueDim / (4 * columns));
}

/** Dims of q and k, padded to whole slices. */
export function paddedDim({ dims }: ExactTile, headDim: number): number {
  return Math.ceil(headDim / dims) * dims;
}

/** Where things lie in the workgroup's memory, in groups of 4 floats. */
export interface TileMemory {
  /** Groups of 4 queries of one dim, and one more against bank conflicts. */
  readonly queryStride: number;
  readonly keyStride: number;
  readonly queries: number;
  /** Staged q (unless resident) and k, or staged values. */
  readonly stage: number;
  readonly weights: number;
  readonly maxima: number;
}

export function tileMemory(tile: ExactTile, headDim: number, valueDim: number): TileMemory {
  const queryStride = tileQueries(tile) / 4 + 1;
  const keyStride = tileKeys(tile) / 4 + 1;
  const stagedQueries = tile.residentQueries ? 0 : tile.dims * queryStride;
  const stagedValues = tile.values * valueVectors(tile, valueDim) * tile.columns;
  return {
    queryStride,
    keyStride,
    queries: tile.residentQueries ? paddedDim(tile, headDim) * queryStride : 0,
    stage: Math.max(stagedQueries + tile.dims * keyStride, stagedValues),
    weights: tileQueries(tile) * (tileKeys(tile) / 4),
    maxima: tile.columns * (tileQueries(tile) / 4),
  };
}

/** Workgroup memory in bytes; the last 16 are a flag. */
export function tileBytes(tile: ExactTile, headDim: number, valueDim: number): number {
  const { queries, stage, weights, maxima } = tileMemory(tile, headDim, valueDim);
  return 16 * (queries + stage + weights + maxima) + 16;
}

/** Best first; the first that fits the device and the registers is taken. docs/kernels/exact.md has the measurements. */
const TILES: readonly ExactTile[] = [
  { threads: 128, columns: 16, rows: 8, keyVectors: 1, dims: 16, values: 16, residentQueries: true },
  { threads: 128, columns: 16, rows: 8, keyVectors: 1, dims: 16, values: 16, residentQueries: false },
  { threads: 64, columns: 8, rows: 8, keyVectors: 1, dims: 8, values: 16, residentQueries: false },
  { threads: 128, columns: 16, rows: 4, keyVectors: 1, dims: 8, values: 8, residentQueries: false },
  { threads: 128, columns: 16, rows: 4, keyVectors: 1, dims: 8, values: 4, residentQueries: false },
];

/** For few queries (decoding), and for software adapters, to which a short shader matters more than a fast one. */
const SMALL_TILES: readonly ExactTile[] = [
  { threads: 64, columns: 16, rows: 4, keyVectors: 1, dims: 16, values: 16, residentQueries: false },
  { threads: 64, columns: 16, rows: 4, keyVectors: 1, dims: 16, values: 4, residentQueries: false },
];

/** Groups of 4 sums that a thread may hold for its outputs. */
const MOST_SUMS = 16;

/** The tile for a shape on a device; undefined when none fits. */
export function chooseTile(
  shape: { readonly headDim: number; readonly valueDim: number; readonly queryLength: number },
  facts: {
    readonly workgroupBytes: number;
    readonly workgroupInvocations: number;
    readonly isSoftware: boolean;
  },
): ExactTile | undefined {
  const { headDim, valueDim, queryLength } = shape;
  const isSmall = facts.isSoftware || queryLength <= tileQueries(SMALL_TILES[0] as ExactTile);
  return (isSmall ? SMALL_TILES : TILES).find(
    (tile) =>
      tile.threads <= facts.workgroupInvocations &&
      tile.rows * valueVectors(tile, valueDim) <= MOST_SUMS &&
      tileBytes(tile, headDim, valueDim) <= facts.workgroupBytes,
  );
}
