/** Sizes of the parts that the backward pass works in. The defaults are measured; tests shrink them. */
export interface BackwardTuning {
  /** Transient bytes that a group of heads, or a part of one head's queries, may take. */
  readonly groupBytes: number;
  /** Tiles of keys that the first pass of the sort tells apart at most; a power of two up to 1,024. */
  readonly mostTiles: number;
  /** Fewest keys of a tile; a power of two. */
  readonly keysPerTile: number;
  /** Most queries whose entries one workgroup hands out to tiles of keys, one after the other. */
  readonly rowsPerBlock: number;
  /** Entries of a block of queries that a workgroup puts in order; a power of two from 256 on. */
  readonly tileEntries: number;
  /** Workgroup memory that a workgroup may use to put entries in order. */
  readonly stagingBytes: number;
  /** Most entries of one tile that one workgroup sorts by key; a power of two from 256 on. */
  readonly blockEntries: number;
  /** Entries of one key summed by one workgroup where the key has many; a power of two. */
  readonly pieceEntries: number;
  /** False: no subgroup variants. */
  readonly subgroups: boolean;
}

export const DEFAULT_TUNING: BackwardTuning = {
  groupBytes: 184 * 2 ** 20,
  mostTiles: 1024,
  keysPerTile: 128,
  rowsPerBlock: 32,
  tileEntries: 2048,
  stagingBytes: 2 ** 14,
  blockEntries: 2048,
  pieceEntries: 1024,
  subgroups: true,
};
