/** Tiles of keys that a workgroup counts in its own memory. */
export const MOST_TILES = 1024;

/** Marks a block that holds no entries. */
export const NO_TILE = 0xffffffff;
