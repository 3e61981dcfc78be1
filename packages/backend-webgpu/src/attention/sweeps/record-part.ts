import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardViews } from '../shared/forward-path.js';
import { geometryOf, keyWindow, type Part, queryWindow, visibleKeys } from '../shared/geometry.js';
import { savedLists } from '../shared/lists.js';
import { TILE_KEYS, tileRowsOn } from '../shared/scores/product.js';
import { recordCollect } from './collect-kernel.js';
import { recordFlag } from './flag-kernel.js';
import { GUARD_PARTS, largestSafe } from './guard-kernel.js';
import { recordKeep } from './keep-kernel.js';
import { rowBytes, type SweepsTuning, segmentOf, sharesOf, sizesOf, slowSize, stepOf } from './part-size.js';
import { recordSample, type SweepInputs, type SweepParameters } from './sample-kernel.js';
import { rankOf, shiftOf } from './sizes.js';
import { recordSlow } from './slow-kernel.js';
import { recordThreshold } from './threshold-kernel.js';

/** What the searches for unsafe keys and biases leave; see `guardWords`. */
interface Unsafe {
  readonly keys: Span;
  /** Where the list of the biases begins. */
  readonly biasPlace: number;
}

export interface PartWork {
  readonly request: AttentionRequest;
  readonly views: ForwardViews;
  readonly part: Part;
  /** Of all parts, which get the same buffers from the pool: a recording keeps one set. */
  readonly largest: Pick<Part, 'heads' | 'queries'>;
  readonly relative: Span | undefined;
  readonly unsafe: Unsafe;
  readonly tuning: SweepsTuning;
}

export function recordPart(stream: Stream, facts: DeviceFacts, work: PartWork): void {
  const { request, views, part, largest, relative, unsafe, tuning } = work;
  const { headDim, valueDim, dtype, causal, keyLengths, keyLength, scale } = request;
  const { k, capacity, groups } = sizesOf(request, tuning);
  const rows = part.heads * part.queries;
  const keyHeads = part.heads / groupSize(request);

  const mostRows = largest.heads * largest.queries;
  const visible = visibleKeys(request, part);
  const shift = tuning.shift ?? shiftOf(k, visible);
  const tileRows = tuning.rows ?? tileRowsOn(facts);
  const subgroups = facts.subgroupMinSize === 32 && facts.subgroupMaxSize === 32;
  const rowTiles = keyHeads * Math.ceil(rows / keyHeads / tileRows);
  const sweep: SweepParameters = {
    headDim,
    dtype,
    causal,
    keyLengths,
    relativeBias: request.relativeBias !== undefined,
    rows: tileRows,
  };
  const lists = stream.scratch(mostRows * rowBytes(request, tuning));
  const thresholds = stream.scratch(4 * mostRows);
  const counts = stream.scratch(4 * mostRows);
  const slow = stream.scratch(4 * (largest.heads / groupSize(request) + mostRows));
  const q = queryWindow(views.q, request, part);
  const keys = keyWindow(views.k, request, part);
  const key_lengths = views.keyLengths?.span;
  const options = { key_lengths, relative };
  const geometry = geometryOf(request, part);
  const inputs: SweepInputs = { geometry, rowTiles, q, k: keys, options };

  const tiles = Math.ceil(visible / 2 ** shift / TILE_KEYS);
  const cycle = groups / 32;
  const shares = tuning.shares ?? sharesOf(rowTiles, Math.min(cycle, tiles));
  const tileStep = stepOf(rows, TILE_KEYS);
  const largest_safe = largestSafe(headDim, scale);
  // The first part of a head searches its keys, even if it sees none of them.
  let guards = part.firstQuery === 0 ? GUARD_PARTS * keyHeads : 0;
  for (let tile = 0; tile < tiles || guards > 0; tile += tileStep) {
    const end_tile = Math.min(tiles, tile + tileStep);
    const sample = { shift, groups, first_tile: tile, end_tile, shares, guards, largest_safe };
    recordSample(stream, sweep, inputs, sample, { maxima: lists, unsafe_keys: unsafe.keys });
    guards = 0;
  }
  const rank = tuning.rank ?? rankOf(k, shift);
  recordThreshold(
    stream,
    { ...sweep, groups, subgroups },
    geometry,
    { shift, rank, capacity, largest_safe, bias_guard: unsafe.biasPlace },
    { q, maxima: lists, unsafe_keys: unsafe.keys, thresholds, counts, slow, key_lengths },
  );
  const segment = tuning.segment ?? segmentOf(rowTiles, Math.min(visible, stepOf(rows, 1)));
  const keyStep = segment * Math.max(1, Math.floor(stepOf(rows, segment)));
  for (let key = 0; key < visible; key += keyStep) {
    const span = { capacity, first_key: key, end_key: Math.min(visible, key + keyStep), segment };
    recordCollect(stream, sweep, inputs, span, { thresholds, counts, lists });
  }
  recordFlag(stream, geometry, { capacity, k }, { thresholds, counts, slow, counters: tuning.counters });
  stream.release(thresholds);
  const { rows: slowRows, workgroups } = slowSize(request, facts.workgroupBytes, tuning);
  const scratch = stream.scratch(4 * slowRows * workgroups * keyLength);
  recordSlow(
    stream,
    { headDim, dtype, causal, keyLengths, relativeBias: sweep.relativeBias, rows: slowRows },
    geometry,
    { capacity, k, row_words: keyLength },
    workgroups,
    { q, k: keys, slow, counts, lists, scratch, ...options },
  );
  stream.release(scratch);
  stream.release(slow);

  recordKeep(
    stream,
    { capacity, k, valueDim, dtype, dropout: request.dropout !== undefined, subgroups },
    geometry,
    {
      ...{ counts, lists },
      v: keyWindow(views.v, request, part),
      out: queryWindow(views.output, request, part),
      saved: savedLists(views, request, part),
    },
  );
  stream.release(counts);
  stream.release(lists);
}
