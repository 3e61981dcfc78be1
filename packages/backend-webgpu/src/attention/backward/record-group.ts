import type { AttentionRequest } from '@topk-attention/core/backend';
import { type Binding, wholeOf, windowOf } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { recordNarrow } from '../shared/narrow.js';
import { isBiasOfKeys, recordBiasOfKeys, recordBiasOfRows } from './extras/bias.js';
import { recordBiasOfEntries } from './extras/entry-bias.js';
import { recordTableGradient } from './extras/relative-table.js';
import {
  type GatherInputs,
  type GatherVariant,
  recordKeyGradients,
  recordPieces,
} from './gather/record-gather.js';
import { type GroupBytes, sortGeometry } from './groups.js';
import type { Group, SortGeometry } from './layout/groups.js';
import type { RowLayout } from './layout/rows.js';
import { takesSubgroups } from './layout/subgroups.js';
import { recordCountKeys } from './partition/count-keys.js';
import { recordCountTiles } from './partition/count-tiles.js';
import { recordScanKeys } from './partition/scan-keys.js';
import { recordPlaceTiles, recordScanBlocks } from './partition/scan-tiles.js';
import { recordScatterKeys } from './partition/scatter-keys.js';
import { recordScatterTiles } from './partition/scatter-tiles.js';
import { type RowInputs, recordRows } from './rows/record-rows.js';
import type { BackwardTuning } from './tuning.js';

/** A bias has numbers for all keys, or for the entries of each query's list. */
export type BiasOf = 'keys' | 'entries';

export interface BackwardViews extends RowInputs {
  readonly q: View;
  readonly dQ: View;
  readonly dBias?: View;
  /** What the last axis of `dBias` counts, if it is longer than 1. */
  readonly biasOf: BiasOf;
  readonly dTable?: View;
  /** Buckets by relative position; present with `dTable`. */
  readonly positions?: { readonly buckets: Span; readonly farthest: number };
}

/** Where the gradients of the group's keys and values go, in f32. */
export interface KeyResults {
  readonly dK: Binding;
  readonly dV: Binding;
}

/** Entries (row, weights) of a group in the order (key, row). */
interface Sorted {
  /** (first entry, entries) of every key. */
  readonly ranges: Span;
  readonly rows: Span;
  readonly weights: Span;
  readonly pieceKeys: Span;
}

/** Vectors of four where every row length is a multiple of four. */
function rowLayoutOf({ headDim, valueDim, dtype }: AttentionRequest): RowLayout {
  const width = headDim % 4 === 0 && valueDim % 4 === 0 ? 4 : 1;
  return { width, half: dtype === 'f16' };
}

/**
 * Records all gradients of one group; groups add to dBias and dTable, and to dK and dV where `group.adds`. `bytes`: see
 * `bytesOfGroups`.
 */
export function recordGroup(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  views: BackwardViews,
  results: KeyResults,
  tuning: BackwardTuning,
  bytes: GroupBytes,
  hasSubgroups: boolean,
): void {
  const geometry = sortGeometry(request, tuning, group.units, group.rowsPerUnit);
  const weights = stream.scratch(bytes.weights);
  recordQueries(stream, request, group, views, weights, bytes, hasSubgroups);
  if (views.dTable !== undefined && views.positions !== undefined) {
    recordTableGradient(stream, request, group, views.indices, weights, views.positions, views.dTable);
  }
  const { dBias } = views;
  const byKeys = dBias !== undefined && views.biasOf === 'keys' && isBiasOfKeys(dBias.shape);
  if (dBias !== undefined && views.biasOf === 'entries' && dBias.shape[3] !== 1) {
    recordBiasOfEntries(stream, request, group, views.scores, weights, dBias);
  } else if (dBias !== undefined && !byKeys) {
    recordBiasOfRows(stream, request, group, views.indices, weights, dBias);
  }
  const sorted = recordSort(stream, geometry, bytes, windowOfLists(request, group, views.indices), weights);
  if (byKeys) {
    recordBiasOfKeys(stream, request, group, sorted, dBias);
  }
  recordKeys(stream, request, group, views, results, geometry, sorted, bytes, hasSubgroups);
}

function windowOfLists(request: AttentionRequest, group: Group, lists: View): Binding {
  const slots = request.k as number;
  return windowOf(lists, group.firstRow * slots, group.units * group.rowsPerUnit * slots);
}

/** dQ, and (weight, dS) of every slot. */
function recordQueries(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  views: BackwardViews,
  weights: Span,
  bytes: GroupBytes,
  hasSubgroups: boolean,
): void {
  const { headDim } = request;
  const layout = rowLayoutOf(request);
  const count = group.units * group.rowsPerUnit * headDim;
  const first = group.firstRow * headDim;
  const wide = layout.half ? stream.scratch(bytes.queryGradients) : undefined;
  const result = wide === undefined ? windowOf(views.dQ, first, count) : wholeOf(wide);
  recordRows(stream, request, group, layout, hasSubgroups, views, { result, weights });
  if (wide !== undefined) {
    recordNarrow(stream, wide, views.dQ, first, count);
    stream.release(wide);
  }
}

/** Sorts the group's entries by key, stable in the rows, in two counting passes: by tile of keys, then by key. Frees `weights`. */
function recordSort(
  stream: Stream,
  geometry: SortGeometry,
  bytes: GroupBytes,
  indices: Binding,
  weights: Span,
): Sorted {
  const counts = stream.scratch(bytes.tileCounts);
  recordCountTiles(stream, geometry, { indices, counts });
  const totals = stream.scratch(bytes.tileTotals);
  recordScanBlocks(stream, geometry, { counts, totals });
  const info = stream.scratch(bytes.tileInfo);
  const blockTiles = stream.scratch(bytes.blockTiles);
  recordPlaceTiles(stream, geometry, { totals, info, blockTiles });
  stream.release(totals);
  const ofTiles = {
    tile_keys: stream.scratch(bytes.tileKeys),
    tile_weights: stream.scratch(bytes.tileWeights),
  };
  recordScatterTiles(stream, geometry, { indices, weights, counts, info, ...ofTiles });
  stream.release(weights);
  stream.release(counts);

  const ofBlocks = { block_tiles: blockTiles, info, tile_keys: ofTiles.tile_keys };
  const keyCounts = stream.scratch(bytes.keyCounts);
  recordCountKeys(stream, geometry, { ...ofBlocks, counts: keyCounts });
  const ranges = stream.scratch(bytes.keyRanges);
  const pieceKeys = stream.scratch(bytes.pieceKeys);
  const ofKeys = { counts: keyCounts, ranges, piece_keys: pieceKeys };
  recordScanKeys(stream, geometry, piecesOf(geometry), { info, ...ofKeys });
  const sortedWeights = stream.scratch(bytes.sortedWeights);
  const sortedRows = stream.scratch(bytes.sortedRows);
  recordScatterKeys(stream, geometry, {
    ...ofBlocks,
    tile_weights: ofTiles.tile_weights,
    places: keyCounts,
    sorted_rows: sortedRows,
    sorted_weights: sortedWeights,
    piece_keys: pieceKeys,
  });
  for (const span of [blockTiles, info, ofTiles.tile_keys, ofTiles.tile_weights, keyCounts]) {
    stream.release(span);
  }
  return { ranges, rows: sortedRows, weights: sortedWeights, pieceKeys };
}

function piecesOf({ units, rowsPerUnit, slots, pieceEntries }: SortGeometry): number {
  return Math.ceil((units * rowsPerUnit * slots) / pieceEntries);
}

/** dK and dV from the sorted entries, which it frees. */
function recordKeys(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  views: BackwardViews,
  { dK, dV }: KeyResults,
  geometry: SortGeometry,
  sorted: Sorted,
  bytes: GroupBytes,
  hasSubgroups: boolean,
): void {
  const { headDim, valueDim, keyLength, scale } = request;
  const layout = rowLayoutOf(request);
  const subgroups = hasSubgroups && takesSubgroups(headDim, valueDim, layout);
  const variant: GatherVariant = { headDim, valueDim, layout, subgroups };
  const rows = group.units * group.rowsPerUnit;
  const inputs: GatherInputs = {
    query: windowOf(views.q, group.firstRow * headDim, rows * headDim),
    gradient: windowOf(views.dOutput, group.firstRow * valueDim, rows * valueDim),
    sorted_rows: sorted.rows,
    sorted_weights: sorted.weights,
  };
  const sums = stream.scratch(bytes.pieceSums);
  const { pieceEntries } = geometry;
  const pieced = { pieces: piecesOf(geometry), piece_entries: pieceEntries };
  recordPieces(stream, variant, pieced, { ...inputs, piece_keys: sorted.pieceKeys, sums });
  stream.release(sorted.pieceKeys);
  recordKeyGradients(
    stream,
    variant,
    { keys: group.units * keyLength, piece_entries: pieceEntries, scale, adds: Number(group.adds) },
    { ...inputs, ranges: sorted.ranges, sums, key_result: dK, value_result: dV },
  );
  for (const span of [sums, sorted.rows, sorted.weights, sorted.ranges]) stream.release(span);
}
