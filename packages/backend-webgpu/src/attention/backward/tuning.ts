/** Sizes of the parts that the backward pass works in. The defaults are measured; tests shrink them. */
export interface BackwardTuning {
  /** Transient bytes that a group of heads, or a part of one head's queries, may take. */
  readonly groupBytes: number;
  /** Queries whose entries one workgroup hands out to tiles of keys. */
  readonly rowsPerBlock: number;
  /** Most entries of one tile that one workgroup sorts by key; a power of two from 256 on. */
  readonly blockEntries: number;
  /** Entries of one key summed by one workgroup where the key has many; a power of two. */
  readonly pieceEntries: number;
  /** False: no subgroup variants. */
  readonly subgroups: boolean;
}

export const DEFAULT_TUNING: BackwardTuning = {
  groupBytes: 184 * 2 ** 20,
  rowsPerBlock: 32,
  blockEntries: 2048,
  pieceEntries: 512,
  subgroups: true,
};
