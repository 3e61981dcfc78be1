/** Transient bytes that a group of heads, or a part of one head's queries, may take. */
export const GROUP_BYTES: number = 184 * 2 ** 20;
/** The same where that would make more than four groups: each takes ten launches. A choice. */
export const LARGE_GROUP_BYTES: number = 256 * 2 ** 20;

/** Fewest keys of a tile; a power of two. */
export const KEYS_PER_TILE = 128;

/** Workgroup memory for sorting entries: what every device has. */
export const STAGING_BYTES: number = 2 ** 14;

/** Sizes of the parts that the backward pass works in. The defaults are measured; tests shrink them. */
export interface BackwardTuning {
  /** Most tiles of keys that the first pass of the sort distinguishes; a power of two up to 1,024. */
  readonly mostTiles: number;
  /** Most queries whose entries one workgroup distributes to tiles of keys, one query after the other. */
  readonly rowsPerBlock: number;
  /** Most entries of a block of queries that a workgroup sorts; a power of two, at least 256. */
  readonly tileEntries: number;
  /** Most entries of one tile that one workgroup sorts by key; a power of two, at least 256. */
  readonly blockEntries: number;
  /** Entries of one key summed by one workgroup where the key has many; a power of two. */
  readonly pieceEntries: number;
}

export const DEFAULT_TUNING: BackwardTuning = {
  mostTiles: 1024,
  rowsPerBlock: 32,
  tileEntries: 2048,
  blockEntries: 2048,
  pieceEntries: 1024,
};
