import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { ALIGNMENT } from '../../runtime/binding.js';
import { bufferSize } from '../../runtime/pool.js';
import type { Group, SortGeometry } from './layout/groups.js';
import { powerOfTwo } from './layout/rows.js';
import { scatterKeysBytes } from './partition/scatter-keys.js';
import { stagedTilesBytes } from './partition/scatter-tiles-staged.js';
import { MOST_TILES } from './partition/tiles.js';
import {
  type BackwardTuning,
  GROUP_BYTES,
  KEYS_PER_TILE,
  LARGE_GROUP_BYTES,
  STAGING_BYTES,
} from './tuning.js';

const MOST_KEYS_PER_TILE = 1024;
const LEAST_BLOCK_ENTRIES = 256;
const LEAST_TILE_CAPACITY = 128;

/** Keys that the two passes of the sort can tell apart. */
export const MOST_KEYS: number = MOST_TILES * MOST_KEYS_PER_TILE;

/** Bytes of every scratch buffer of a group. */
export interface GroupBytes {
  readonly weights: number;
  readonly tileCounts: number;
  readonly tileTotals: number;
  readonly tileInfo: number;
  readonly blockTiles: number;
  readonly tileKeys: number;
  readonly tileWeights: number;
  readonly keyCounts: number;
  readonly keyRanges: number;
  readonly sortedRows: number;
  readonly sortedWeights: number;
  readonly pieceKeys: number;
  readonly pieceSums: number;
  readonly queryGradients: number;
  readonly keyGradients: number;
  readonly valueGradients: number;
}

export function sortGeometry(
  request: AttentionRequest,
  tuning: BackwardTuning,
  units: number,
  rowsPerUnit: number,
): SortGeometry {
  const slots = request.k as number;
  const keys = request.keyLength;
  const keysPerTile = Math.max(KEYS_PER_TILE, powerOfTwo(keys / tuning.mostTiles));
  const tiles = Math.ceil(keys / keysPerTile);
  const entries = rowsPerUnit * slots;
  const tileCapacity = Math.max(LEAST_TILE_CAPACITY, powerOfTwo(tiles));
  const stagedMost = Math.min(
    tuning.tileEntries,
    fittingPower((count) => stagedTilesBytes(tileCapacity, count), STAGING_BYTES),
  );
  const isStaged = slots <= stagedMost;
  const rowsPerBlock = Math.min(tuning.rowsPerBlock, isStaged ? Math.floor(stagedMost / slots) : MOST_KEYS);
  const blockEntries = Math.min(
    tuning.blockEntries,
    fittingPower((count) => scatterKeysBytes(keysPerTile, count), STAGING_BYTES),
    Math.max(LEAST_BLOCK_ENTRIES, powerOfTwo(entries / tiles / 4)),
  );
  return {
    units,
    rowsPerUnit,
    slots,
    keys,
    keysPerTileLog2: Math.log2(keysPerTile),
    tiles,
    tileCapacity,
    stagedEntries: isStaged ? stagedMost : 0,
    rowsPerBlock,
    rowBlocks: Math.ceil(rowsPerUnit / rowsPerBlock),
    blockEntries,
    entryBlocks: Math.ceil(entries / blockEntries) + tiles,
    pieceEntries: tuning.pieceEntries,
  };
}

export function groupBytes(request: AttentionRequest, geometry: SortGeometry): GroupBytes {
  const { headDim, valueDim, dtype } = request;
  const { units, rowsPerUnit, slots, keys, tiles, rowBlocks, blockEntries, entryBlocks } = geometry;
  const rows = units * rowsPerUnit;
  const entries = rows * slots;
  const padded = units * entryBlocks * blockEntries;
  const pieces = Math.ceil(entries / geometry.pieceEntries);
  const isHalf = dtype === 'f16';
  return {
    weights: 8 * entries,
    tileCounts: 4 * units * tiles * rowBlocks,
    tileTotals: 4 * units * tiles,
    tileInfo: 16 * units * tiles,
    blockTiles: 4 * units * entryBlocks,
    tileKeys: 4 * padded,
    tileWeights: 8 * padded,
    keyCounts: 4 * units * entryBlocks * 2 ** geometry.keysPerTileLog2,
    keyRanges: 8 * units * keys,
    sortedRows: 4 * entries,
    sortedWeights: 8 * entries,
    pieceKeys: 8 * pieces,
    pieceSums: 4 * pieces * (headDim + valueDim),
    queryGradients: isHalf ? 4 * rows * headDim : 0,
    keyGradients: isHalf ? 4 * units * keys * headDim : 0,
    valueGradients: isHalf ? 4 * units * keys * valueDim : 0,
  };
}

/**
 * Bytes of the scratch buffers of every group: those of the largest, so that a smaller one, such as the last, gets the same
 * buffers from the pool. A recording would keep others for each size.
 */
export function bytesOfGroups(
  request: AttentionRequest,
  tuning: BackwardTuning,
  groups: readonly Group[],
): GroupBytes {
  const each = groups.map(({ units, rowsPerUnit }) =>
    groupBytes(request, sortGeometry(request, tuning, units, rowsPerUnit)),
  );
  // There may be no group at all.
  const any = groupBytes(request, sortGeometry(request, tuning, 1, 1));
  const names = Object.keys(any) as (keyof GroupBytes)[];
  return Object.fromEntries(
    names.map((name) => [name, Math.max(0, ...each.map((bytes) => bytes[name]))]),
  ) as Record<keyof GroupBytes, number>;
}

/**
 * Bytes that a group holds. Buffers return to the pool when their last user is recorded, but sizes differ, so only the
 * sorted weights reuse one: that of the weights by slot.
 */
export function heldBytes(bytes: GroupBytes): number {
  const all = Object.values(bytes).reduce(
    (sum: number, one: number) => sum + (one === 0 ? 0 : bufferSize(one)),
    0,
  );
  return all - bufferSize(bytes.sortedWeights);
}

/**
 * Groups in the order they run, each as large as `GROUP_BYTES` (`LARGE_GROUP_BYTES`), the bindings and the chunk allow.
 */
export function planGroups(
  request: AttentionRequest,
  tuning: BackwardTuning,
  bindingBytes: number,
  chunk: number,
): Group[] {
  const { batch, keyHeads, queryHeads, queryLength } = request;
  const units = batch * keyHeads;
  const unitRows = groupSize(request) * queryLength;
  const mostRows = chunk * batch * queryHeads;
  const whole = heldBytes(groupBytes(request, sortGeometry(request, tuning, units, unitRows)));
  const budget = whole <= 4 * GROUP_BYTES ? GROUP_BYTES : LARGE_GROUP_BYTES;
  const fits = (unitCount: number, rows: number): boolean => {
    const geometry = sortGeometry(request, tuning, unitCount, rows);
    const bytes = groupBytes(request, geometry);
    return (
      rows <= 2 ** (32 - geometry.keysPerTileLog2) &&
      unitCount * rows <= mostRows &&
      heldBytes(bytes) <= budget &&
      largestBinding(request, bytes, unitCount, rows) <= bindingBytes
    );
  };
  let together = units;
  while (together > 1 && !fits(together, unitRows)) together--;
  // Groups of roughly equal size.
  const unitsPerGroup = Math.ceil(units / Math.ceil(units / together));
  let parts = 1;
  while (unitsPerGroup === 1 && parts < unitRows && !fits(1, Math.ceil(unitRows / parts))) parts++;
  const rowsPerPart = Math.ceil(unitRows / parts);
  const groups: Group[] = [];
  for (let firstUnit = 0; firstUnit < units; firstUnit += unitsPerGroup) {
    for (let row = 0; row < unitRows; row += rowsPerPart) {
      groups.push({
        firstUnit,
        units: Math.min(unitsPerGroup, units - firstUnit),
        firstRow: firstUnit * unitRows + row,
        rowsPerUnit: Math.min(rowsPerPart, unitRows - row),
        adds: row > 0,
        isLast: row + rowsPerPart >= unitRows,
      });
    }
  }
  return groups;
}

function largestBinding(request: AttentionRequest, bytes: GroupBytes, units: number, rows: number): number {
  const { headDim, valueDim, keyLength } = request;
  const widest = Math.max(headDim, valueDim);
  return (
    ALIGNMENT + Math.max(...Object.values(bytes), 4 * units * rows * widest, 4 * units * keyLength * widest)
  );
}

/** The largest power of two that fits, at least 256. */
function fittingPower(bytesOf: (count: number) => number, bytes: number): number {
  let count = LEAST_BLOCK_ENTRIES;
  while (bytesOf(2 * count) <= bytes) count *= 2;
  return count;
}
