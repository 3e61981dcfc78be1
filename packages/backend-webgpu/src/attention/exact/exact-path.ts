import { bytesPerElement } from '@topk-attention/core';
import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { ALIGNMENT } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Stream } from '../../runtime/stream.js';
import { fewRowsOf, hasFewRows, keysOfTile, rowsPerKeyHead, rowTilesOf } from '../few-rows/few-rows.js';
import type { ForwardPath, ForwardViews } from '../shared/forward-path.js';
import { geometryOf, keyWindow, type Part, partsOf, queryWindow } from '../shared/geometry.js';
import { optionRefusals, optionsOf } from '../shared/options.js';
import { recordRelativeVectors, relativeBytes } from '../shared/relative-bias.js';
import { scoreOptionsOf } from '../shared/scores/record-scores.js';
import { recordFewExact } from './few-rows-kernel.js';
import { recordJoin, segmentRowFloats } from './join-segments.js';
import { recordExactTiles } from './kernel.js';
import type { ExactParameters } from './parameters.js';
import { chooseTile, type ExactTile, tileKeys, tileQueries } from './tile.js';

const LARGEST_DIM = 256;
/** Work of one dispatch: 0.2 s on a device of 0.5 TFLOP/s, so that no watchdog ends it. */
const FLOPS_PER_DISPATCH = 1e11;
/** Fewer workgroups than this leave a large device idle. */
const LEAST_WORKGROUPS = 512;
/** Workgroups that keep a large device busy, and the fewest tiles of keys worth a workgroup. */
const WANTED_WORKGROUPS = 1056;
const LEAST_TILES = 4;

/**
 * Dense tiled attention, for `exactAttention`: scores live in registers. It takes the queries in dispatches of bounded
 * work instead of the planned chunk, because a chunk would not bound its scratch: vectors of a relative bias, and sums
 * where few queries (decoding) share their keys among many workgroups.
 */
export const exactPath: ForwardPath = {
  name: 'exact',
  refuses: (request, facts) => exactRefusals(request, facts),
  // It divides a call itself.
  preferredChunk: ({ queryLength }) => queryLength,
  scratchBytes: (request, _chunk, facts) => relativeBytes(request) + segmentBytes(request, facts),
  largestBytes: (request, _chunk, facts) => Math.max(relativeBytes(request), segmentBytes(request, facts)),
  record: (stream, request, views) => recordExact(stream, request, views, stream.facts),
};

function exactRefusals(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const { k, headDim, valueDim, dtype, keyLength } = request;
  const reasons: string[] = [];
  if (k !== 'all') reasons.push(`it keeps all keys, not ${k}`);
  for (const [name, width] of Object.entries({ headDim, valueDim })) {
    if (width > LARGEST_DIM) reasons.push(`${name} ${width} exceeds ${LARGEST_DIM}`);
    const bytes = keyLength * width * bytesPerElement(dtype) + ALIGNMENT;
    if (bytes > facts.bindingBytes) {
      reasons.push(`one head's rows of ${name} ${width} exceed a binding of ${facts.bindingBytes} bytes`);
    }
  }
  if (dtype === 'f16' && valueDim % 2 === 1) reasons.push(`f16 rows of odd length ${valueDim} share words`);
  reasons.push(...optionRefusals(request, facts));
  if (headDim <= LARGEST_DIM && valueDim <= LARGEST_DIM && chooseTile(request, facts) === undefined) {
    reasons.push(`no tile fits ${facts.workgroupBytes} bytes of workgroup memory`);
  }
  return reasons;
}

/** Records the whole call for a device of these facts. */
export function recordExact(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  facts: DeviceFacts,
): void {
  const tile = chooseTile(request, facts) as ExactTile;
  const { headDim, valueDim, dtype, causal, mask, keyLengths, bias, relativeBias, dropout } = request;
  const { sigmoidShift: shift = 0 } = request;
  const sigmoid = request.sigmoidShift !== undefined;
  const isFew = hasFewRows(request);
  const parameters: ExactParameters = {
    tile,
    headDim,
    valueDim,
    dtype,
    causal,
    mask: mask !== undefined,
    keyLengths,
    bias: bias !== undefined,
    relativeBias: relativeBias !== undefined,
    dropout: dropout !== undefined,
    sigmoid,
    segmented: false,
  };
  const relative = recordRelativeVectors(stream, request, views.relativeTable);
  const options = optionsOf(views, relative);
  for (const part of exactParts(request, tile, facts)) {
    const segments = segmentsOf(request, tile, part, facts);
    const sums = segments > 1 ? stream.scratch(partialBytes(request, part, segments)) : undefined;
    const geometry = geometryOf(request, part);
    const out = queryWindow(views.output, request, part);
    const segmented = sums !== undefined;
    const call = {
      ...{ geometry, segments, options, shift },
      q: queryWindow(views.q, request, part),
      k: keyWindow(views.k, request, part),
      v: keyWindow(views.v, request, part),
      ...(sums === undefined ? { out } : { sums }),
    };
    if (isFew) {
      const rowsOfKeyHead = rowsPerKeyHead(request, part);
      const shape = {
        ...scoreOptionsOf(request),
        rows: fewRowsOf(rowsOfKeyHead),
        valueDim,
        sigmoid,
        segmented,
      };
      recordFewExact(stream, shape, { ...call, rowsOfKeyHead });
    } else recordExactTiles(stream, { ...parameters, segmented }, call);
    if (sums !== undefined) {
      recordJoin(stream, { valueDim, dtype, sigmoid }, geometry, segments, { parts: sums, out });
      stream.release(sums);
    }
    stream.flush();
  }
  if (relative !== undefined) stream.release(relative);
}

/**
 * Number of workgroups that share the keys of a tile of queries: one where the tiles keep the device busy.
 */
function segmentsOf(
  request: AttentionRequest,
  tile: ExactTile,
  part: Part,
  { isSoftware }: Pick<DeviceFacts, 'isSoftware'>,
): number {
  if (isSoftware) return 1;
  const together = rowsPerKeyHead(request, part);
  const rows = fewRowsOf(together);
  const [groups, keys] = hasFewRows(request)
    ? [rowTilesOf(part.heads * part.queries, together, rows), keysOfTile(rows)]
    : [part.heads * Math.ceil(part.queries / tileQueries(tile)), tileKeys(tile)];
  const wanted = Math.floor(WANTED_WORKGROUPS / groups);
  return Math.max(1, Math.min(wanted, Math.floor(request.keyLength / keys / LEAST_TILES)));
}

function partialBytes({ valueDim }: AttentionRequest, { heads, queries }: Part, segments: number): number {
  return 4 * segments * heads * queries * segmentRowFloats(valueDim);
}

/** Bytes of the segments' sums for the largest part. */
function segmentBytes(request: AttentionRequest, facts: DeviceFacts): number {
  const tile = chooseTile(request, facts);
  if (tile === undefined) return 0;
  const bytes = exactParts(request, tile, facts).map((part) => {
    const segments = segmentsOf(request, tile, part, facts);
    return segments > 1 ? partialBytes(request, part, segments) : 0;
  });
  return Math.max(...bytes);
}

/**
 * Parts whose rows fit a binding and whose work is bounded; heads are taken singly where a group of them does not fit.
 */
function exactParts(request: AttentionRequest, tile: ExactTile, facts: DeviceFacts): readonly Part[] {
  const { batch, queryHeads, queryLength, keyLength, headDim, valueDim, dtype } = request;
  const available = facts.bindingBytes - ALIGNMENT;
  const width = bytesPerElement(dtype) * Math.max(headDim, valueDim);
  const group = groupSize(request);
  const headsByKeys = Math.floor(available / (keyLength * width)) * group;
  const headsByQueries = Math.floor(available / (queryLength * width));
  const fitting = Math.min(batch * queryHeads, headsByKeys, headsByQueries);
  const atOnce = fitting < group ? 1 : fitting - (fitting % group);
  const high = tileQueries(tile);
  const flops = 2 * keyLength * (headDim + valueDim) * atOnce;
  const least = Math.ceil(LEAST_WORKGROUPS / atOnce) * high;
  const bounded = Math.max(least, Math.floor(FLOPS_PER_DISPATCH / flops / high) * high);
  const chunk = Math.min(queryLength, bounded, Math.floor(available / width));
  return partsOf(request, atOnce, chunk, 'queries');
}
