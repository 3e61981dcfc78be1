import type { AttentionRequest } from '@topk-attention/core/backend';
import { type Binding, windowOf } from '../../runtime/binding.js';
import { f32Bits, gridOf, type Span, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { recordNarrow } from '../shared/narrow.js';
import { isBiasOfKeys, recordBiasOfKeys, recordBiasOfRows } from './extras/bias.js';
import { recordTableGradient } from './extras/relative-table.js';
import { keysPlainKernel, piecesPlainKernel } from './gather/gather-plain.js';
import { keysSubgroupKernel, piecesSubgroupKernel, takesSubgroups } from './gather/gather-subgroups.js';
import { type Group, type GroupBytes, groupBytes, type SortGeometry, sortGeometry } from './groups.js';
import { countKeysKernel } from './partition/count-keys.js';
import { countTilesKernel } from './partition/count-tiles.js';
import { scanKeysKernel } from './partition/scan-keys.js';
import { placeTilesKernel, scanBlocksKernel } from './partition/scan-tiles.js';
import { scatterKeysKernel } from './partition/scatter-keys.js';
import { scatterTilesKernel } from './partition/scatter-tiles.js';
import { type StagingInvocations, scatterTilesStagedKernel } from './partition/scatter-tiles-staged.js';
import type { RowLayout } from './row-layout.js';
import { type RowInputs, rowBindings } from './rows/row-params.js';
import { rowsPlainKernel } from './rows/rows-plain.js';
import { MOST_SUBGROUP_SLOTS, rowsSubgroupKernel } from './rows/rows-subgroups.js';
import type { BackwardTuning } from './tuning.js';

export interface BackwardViews extends RowInputs {
  readonly q: View;
  readonly dQ: View;
  readonly dBias?: View;
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

/** Vectors of four where every row is a multiple of them. */
function rowLayoutOf({ headDim, valueDim, dtype }: AttentionRequest): RowLayout {
  const width = headDim % 4 === 0 && valueDim % 4 === 0 ? 4 : 1;
  return { width, half: dtype === 'f16' };
}

/** Records all gradients of one group; groups add to dBias and dTable, and to dK and dV where `group.adds`. */
export function recordGroup(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  views: BackwardViews,
  results: KeyResults,
  tuning: BackwardTuning,
  hasSubgroups: boolean,
): void {
  const geometry = sortGeometry(request, tuning, group.units, group.rowsPerUnit);
  const bytes = groupBytes(request, geometry);
  const weights = stream.scratch(bytes.weights);
  recordRows(stream, request, group, views, weights, bytes, hasSubgroups);
  if (views.dTable !== undefined && views.positions !== undefined) {
    recordTableGradient(stream, request, group, views.indices, weights, views.positions, views.dTable);
  }
  const { dBias } = views;
  if (dBias !== undefined && !isBiasOfKeys(dBias.shape)) {
    recordBiasOfRows(stream, request, group, views.indices, weights, dBias);
  }
  const sorted = recordSort(stream, geometry, bytes, windowOfLists(request, group, views.indices), weights);
  if (dBias !== undefined && isBiasOfKeys(dBias.shape)) {
    recordBiasOfKeys(stream, request, group, sorted, dBias);
  }
  recordKeys(stream, request, group, views, results, geometry, sorted, bytes, hasSubgroups);
}

function windowOfLists(request: AttentionRequest, group: Group, lists: View): Binding {
  const slots = request.k as number;
  return windowOf(lists, group.firstRow * slots, group.units * group.rowsPerUnit * slots);
}

/** dQ, and (weight, dS) of every slot. */
function recordRows(
  stream: Stream,
  request: AttentionRequest,
  group: Group,
  views: BackwardViews,
  weights: Span,
  bytes: GroupBytes,
  hasSubgroups: boolean,
): void {
  const { headDim, valueDim, dropout } = request;
  const layout = rowLayoutOf(request);
  const rows = group.units * group.rowsPerUnit;
  const first = group.firstRow * headDim;
  const wide = layout.half ? stream.scratch(bytes.queryGradients) : undefined;
  const result: Binding =
    wide === undefined ? windowOf(views.dQ, first, rows * headDim) : { span: wide, base: 0 };
  const { spans, words } = rowBindings(request, group, layout, views, result);
  const shape = { headDim, valueDim, layout, dropout: dropout !== undefined };
  const slots = request.k as number;
  const isSubgroup =
    hasSubgroups && slots <= MOST_SUBGROUP_SLOTS && takesSubgroups(headDim, valueDim, layout);
  stream.launch({
    kernel: isSubgroup ? rowsSubgroupKernel(shape, slots) : rowsPlainKernel(shape),
    buffers: [...spans, result.span, weights],
    uniforms: uniformWords(words),
    workgroups: gridOf(rows),
  });
  if (wide !== undefined) {
    recordNarrow(stream, wide, views.dQ, first, rows * headDim);
    stream.release(wide);
  }
}

/** One invocation a slot, within reason. */
function stagingInvocations(slots: number): StagingInvocations {
  return slots <= 64 ? 64 : slots <= 128 ? 128 : 256;
}

/** Sorts the group's entries by key, stable in the rows, in two counting passes: by tile of keys, then by key. Frees `weights`. */
function recordSort(
  stream: Stream,
  geometry: SortGeometry,
  bytes: GroupBytes,
  indices: Binding,
  weights: Span,
): Sorted {
  const { units, rowsPerUnit, slots, keys, tiles, rowsPerBlock, rowBlocks } = geometry;
  const { keysPerTileLog2, blockEntries, entryBlocks, pieceEntries, tileCapacity, stagedEntries } = geometry;
  const blocks = units * rowBlocks;
  const allTiles = units * tiles;
  const allEntryBlocks = units * entryBlocks;

  const tileCounts = stream.scratch(bytes.tileCounts);
  stream.launch({
    kernel: countTilesKernel(keysPerTileLog2),
    buffers: [indices.span, tileCounts],
    uniforms: uniformWords([rowsPerUnit, slots, tiles, rowBlocks, rowsPerBlock, blocks, indices.base]),
    workgroups: gridOf(blocks),
  });
  const tileTotals = stream.scratch(bytes.tileTotals);
  stream.launch({
    kernel: scanBlocksKernel,
    buffers: [tileCounts, tileTotals],
    uniforms: uniformWords([rowBlocks, allTiles]),
    workgroups: gridOf(allTiles),
  });
  const tileInfo = stream.scratch(bytes.tileInfo);
  const blockTiles = stream.scratch(bytes.blockTiles);
  stream.launch({
    kernel: placeTilesKernel,
    buffers: [tileTotals, tileInfo, blockTiles],
    uniforms: uniformWords([tiles, blockEntries, entryBlocks, rowsPerUnit * slots]),
    workgroups: gridOf(units),
  });
  stream.release(tileTotals);
  const tileKeys = stream.scratch(bytes.tileKeys);
  const tileWeights = stream.scratch(bytes.tileWeights);
  stream.launch({
    kernel:
      stagedEntries === 0
        ? scatterTilesKernel(keysPerTileLog2)
        : scatterTilesStagedKernel(keysPerTileLog2, tileCapacity, stagedEntries, stagingInvocations(slots)),
    buffers: [indices.span, weights, tileCounts, tileInfo, tileKeys, tileWeights],
    uniforms: uniformWords([
      ...[rowsPerUnit, slots, tiles, rowBlocks, rowsPerBlock, blocks, indices.base],
      ...[blockEntries, entryBlocks],
    ]),
    workgroups: gridOf(blocks),
  });
  stream.release(weights);
  stream.release(tileCounts);

  const keyCounts = stream.scratch(bytes.keyCounts);
  stream.launch({
    kernel: countKeysKernel(keysPerTileLog2),
    buffers: [blockTiles, tileInfo, tileKeys, keyCounts],
    uniforms: uniformWords([allEntryBlocks, entryBlocks, tiles, blockEntries]),
    workgroups: gridOf(allEntryBlocks),
  });
  const ranges = stream.scratch(bytes.keyRanges);
  stream.launch({
    kernel: scanKeysKernel(keysPerTileLog2),
    buffers: [tileInfo, keyCounts, ranges],
    uniforms: uniformWords([tiles, allTiles, entryBlocks, blockEntries, keys]),
    workgroups: gridOf(allTiles),
  });
  const sortedWeights = stream.scratch(bytes.sortedWeights);
  const sortedRows = stream.scratch(bytes.sortedRows);
  const pieceKeys = stream.scratch(bytes.pieceKeys);
  stream.clear(pieceKeys);
  stream.launch({
    kernel: scatterKeysKernel(keysPerTileLog2, blockEntries),
    buffers: [blockTiles, tileInfo, tileKeys, tileWeights, keyCounts, sortedRows, sortedWeights, pieceKeys],
    uniforms: uniformWords([
      ...[allEntryBlocks, entryBlocks, tiles, blockEntries, keys, rowsPerUnit, pieceEntries],
    ]),
    workgroups: gridOf(allEntryBlocks),
  });
  for (const span of [blockTiles, tileInfo, tileKeys, tileWeights, keyCounts]) stream.release(span);
  return { ranges, rows: sortedRows, weights: sortedWeights, pieceKeys };
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
  const { width } = layout;
  const shape = { headDim, valueDim, layout };
  const isSubgroup = hasSubgroups && takesSubgroups(headDim, valueDim, layout);
  const rows = group.units * group.rowsPerUnit;
  const pieces = Math.ceil((rows * geometry.slots) / geometry.pieceEntries);
  const q = windowOf(views.q, group.firstRow * headDim, rows * headDim);
  const dO = windowOf(views.dOutput, group.firstRow * valueDim, rows * valueDim);
  const bases = [q.base / width, dO.base / width];

  const pieceSums = stream.scratch(bytes.pieceSums);
  stream.launch({
    kernel: isSubgroup ? piecesSubgroupKernel(shape) : piecesPlainKernel(shape),
    buffers: [q.span, dO.span, sorted.rows, sorted.weights, sorted.pieceKeys, pieceSums],
    uniforms: uniformWords([...bases, pieces, geometry.pieceEntries]),
    workgroups: gridOf(pieces),
  });
  stream.release(sorted.pieceKeys);

  const keys = group.units * keyLength;
  stream.launch({
    kernel: isSubgroup ? keysSubgroupKernel(shape) : keysPlainKernel(shape),
    buffers: [q.span, dO.span, sorted.rows, sorted.weights, sorted.ranges, pieceSums, dK.span, dV.span],
    uniforms: uniformWords([
      ...[...bases, keys, geometry.pieceEntries],
      ...[dK.base / width, dV.base / width, f32Bits(scale), Number(group.adds)],
    ]),
    workgroups: gridOf(keys),
  });
  for (const span of [pieceSums, sorted.rows, sorted.weights, sorted.ranges]) stream.release(span);
}
