import { type AttentionRequest, bytesPerElement, relativePositionBucket, sizeOf } from '@topk-attention/core';
import type { DeviceFacts } from '../../runtime/facts.js';
import { f32Bits, gridOf, type Span, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { storageBytes, type View } from '../../view.js';
import type { ForwardPath, ForwardViews } from '../forward-path.js';
import { joinSegmentsKernel, segmentRowFloats } from './join-segments.js';
import { exactKernel, hasAux } from './kernel.js';
import type { ExactParameters } from './parameters.js';
import { chooseTile, type ExactTile, tileKeys, tileQueries } from './tile.js';
import { BINDING_ALIGNMENT } from '../shared/geometry.js';
import { optionRefusals } from '../shared/options.js';

const LARGEST_DIM = 256;
/** Work of one dispatch: 0.2 s on a device of 0.5 TFLOP/s, so that no watchdog ends it. */
const FLOPS_PER_DISPATCH = 1e11;
/** Fewer workgroups than this leave a large device idle. */
const LEAST_WORKGROUPS = 512;
/** Workgroups that keep a large device busy, and the fewest tiles of keys that are worth one. */
const WANTED_WORKGROUPS = 1056;
const LEAST_TILES = 4;
/**
 * Dense tiled attention, for `exactAttention`: scores live in registers, nothing but the output is written. It takes the
 * queries in dispatches of bounded work instead of the planned chunk, as it needs no scratch that a chunk could bound. Few
 * queries (decoding) share their keys among many workgroups, whose sums are joined.
 */
export const exactPath: ForwardPath = {
  name: 'exact',
  refuses: (request, facts) => exactRefusals(request, facts),
  scratchBytes: (request, _chunk, facts) => auxBytes(request) + segmentBytes(request, facts),
  largestBytes: (request, _chunk, facts) => Math.max(auxBytes(request), segmentBytes(request, facts)),
  record: (stream, request, views) => recordExact(stream, request, views, stream.facts),
};

function exactRefusals(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const { k, headDim, valueDim, dtype, keyLength } = request;
  const reasons: string[] = [];
  if (k !== 'all') reasons.push(`it keeps all keys, not ${k}`);
  for (const [name, width] of Object.entries({ headDim, valueDim })) {
    if (width > LARGEST_DIM) reasons.push(`${name} ${width} exceeds ${LARGEST_DIM}`);
    const bytes = keyLength * width * bytesPerElement(dtype) + BINDING_ALIGNMENT;
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

/** Queries and heads of one dispatch. Heads count over the batch: b * Hq + h. */
interface Part {
  readonly firstHead: number;
  readonly heads: number;
  readonly firstQuery: number;
  readonly queries: number;
}

/** Records the whole call for a device of these facts, with the tile that they allow or another one. */
export function recordExact(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  facts: DeviceFacts,
  tile: ExactTile = chooseTile(request, facts) as ExactTile,
): void {
  const { headDim, valueDim, dtype, causal, mask, keyLengths, bias, relativeBias, dropout } = request;
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
    segmented: false,
  };
  const aux = makeAux(stream, request, views);
  const shared = [
    ...(aux === undefined ? [] : [aux.span]),
    ...[views.mask, views.bias, views.relativeTable].flatMap((view) =>
      view === undefined ? [] : [view.span],
    ),
  ];
  for (const part of partsOf(request, tile, facts)) {
    const rows = rowsOf(request, views, part);
    const groups = part.heads * Math.ceil(part.queries / tileQueries(tile));
    const segments = segmentsOf(request, tile, groups, facts);
    const sums = segments > 1 ? stream.scratch(partialBytes(request, part, segments)) : undefined;
    stream.launch({
      kernel: exactKernel({ ...parameters, segmented: sums !== undefined }),
      buffers: [rows.q.span, rows.k.span, rows.v.span, sums ?? rows.out.span, ...shared],
      uniforms: uniformsOf(request, part, rows, segments),
      workgroups: gridOf(groups * segments),
    });
    if (sums !== undefined) {
      stream.launch({
        kernel: joinSegmentsKernel(valueDim, dtype),
        buffers: [sums, rows.out.span],
        uniforms: uniformWords([segments, part.heads, part.queries, request.queryLength, rows.out.base]),
        workgroups: gridOf(part.heads * part.queries),
      });
      stream.release(sums);
    }
    stream.flush();
  }
  if (aux?.isScratch) stream.release(aux.span);
}

/** Among how many workgroups a tile of queries shares its keys: one where the tiles, `groups` of them, keep the device busy. */
function segmentsOf(
  { keyLength }: AttentionRequest,
  tile: ExactTile,
  groups: number,
  { isSoftware }: Pick<DeviceFacts, 'isSoftware'>,
): number {
  const wanted = isSoftware ? 1 : Math.floor(WANTED_WORKGROUPS / groups);
  return Math.max(1, Math.min(wanted, Math.floor(keyLength / tileKeys(tile) / LEAST_TILES)));
}

function partialBytes({ valueDim }: AttentionRequest, { heads, queries }: Part, segments: number): number {
  return 4 * segments * heads * queries * segmentRowFloats(valueDim);
}

/** Sums of the segments of the largest part. */
function segmentBytes(request: AttentionRequest, facts: DeviceFacts): number {
  const tile = chooseTile(request, facts);
  if (tile === undefined) return 0;
  const bytes = partsOf(request, tile, facts).map((part) => {
    const groups = part.heads * Math.ceil(part.queries / tileQueries(tile));
    const segments = segmentsOf(request, tile, groups, facts);
    return segments > 1 ? partialBytes(request, part, segments) : 0;
  });
  return Math.max(...bytes);
}

/** Parts whose rows fit a binding and whose work is bounded. */
function partsOf(request: AttentionRequest, tile: ExactTile, facts: DeviceFacts): readonly Part[] {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype } = request;
  const element = bytesPerElement(dtype);
  const available = facts.bindingBytes - BINDING_ALIGNMENT;
  const width = element * Math.max(headDim, valueDim);
  const headsByKeys = Math.floor(available / (keyLength * width)) * (queryHeads / keyHeads);
  const headsByQueries = Math.floor(available / (queryLength * width));
  const atOnce = Math.max(1, Math.min(batch * queryHeads, headsByKeys, headsByQueries));
  const high = tileQueries(tile);
  const flops = 2 * keyLength * (headDim + valueDim) * atOnce;
  const least = Math.ceil(LEAST_WORKGROUPS / atOnce) * high;
  const bounded = Math.max(least, Math.floor(FLOPS_PER_DISPATCH / flops / high) * high);
  const chunk = Math.min(queryLength, bounded, Math.floor(available / width));
  const parts: Part[] = [];
  for (let firstHead = 0; firstHead < batch * queryHeads; firstHead += atOnce) {
    const heads = Math.min(atOnce, batch * queryHeads - firstHead);
    for (let firstQuery = 0; firstQuery < queryLength; firstQuery += chunk) {
      parts.push({ firstHead, heads, firstQuery, queries: Math.min(chunk, queryLength - firstQuery) });
    }
  }
  return parts;
}

interface Rows {
  readonly span: Span;
  /** Element of the span where the first row begins. */
  readonly base: number;
}

/** The part of each tensor that a dispatch binds. */
function rowsOf(
  request: AttentionRequest,
  { q, k, v, output }: ForwardViews,
  { firstHead, heads, firstQuery, queries }: Part,
): { readonly q: Rows; readonly k: Rows; readonly v: Rows; readonly out: Rows } {
  const { queryLength, keyLength } = request;
  const firstRow = firstHead * queryLength + firstQuery;
  const rowCount = (heads - 1) * queryLength + queries;
  const firstKey = keyHeadOf(request, firstHead);
  const keyHeads = keyHeadOf(request, firstHead + heads - 1) - firstKey + 1;
  return {
    q: rowSpan(q, firstRow, rowCount),
    k: rowSpan(k, firstKey * keyLength, keyHeads * keyLength),
    v: rowSpan(v, firstKey * keyLength, keyHeads * keyLength),
    out: rowSpan(output, firstRow, rowCount),
  };
}

/** Index b * Hkv + h of the key head of query head b * Hq + h: consecutive query heads share one. */
function keyHeadOf({ queryHeads, keyHeads }: AttentionRequest, head: number): number {
  const batch = Math.floor(head / queryHeads);
  return batch * keyHeads + Math.floor(((head % queryHeads) * keyHeads) / queryHeads);
}

function rowSpan({ span, shape, dtype }: View, first: number, count: number): Rows {
  const width = shape.at(-1) as number;
  const element = bytesPerElement(dtype);
  const from = first * width * element;
  const offset = Math.floor(from / BINDING_ALIGNMENT) * BINDING_ALIGNMENT;
  const size = Math.ceil((from - offset + count * width * element) / 4) * 4;
  return {
    span: { buffer: span.buffer, offset: span.offset + offset, size: Math.min(size, span.size - offset) },
    base: (from - offset) / element,
  };
}

function uniformsOf(
  request: AttentionRequest,
  part: Part,
  { q, k, v, out }: ReturnType<typeof rowsOf>,
  segments: number,
): Uint32Array {
  const { batch, queryLength, keyLength, queryHeads, keyHeads, scale, keyLengths, relativeBias } = request;
  const { rate, seed } = request.dropout ?? { rate: 0, seed: 0 };
  return uniformWords([
    ...[queryLength, keyLength, queryHeads, keyHeads],
    ...[part.firstHead, part.heads, part.firstQuery, part.queries],
    ...[keyHeadOf(request, part.firstHead), q.base, k.base, v.base],
    ...[out.base, f32Bits(scale), keyLengths ? batch : 0, relativeBias?.maxDistance ?? 0],
    ...broadcastStrides(request.mask),
    ...broadcastStrides(request.bias),
    ...[seed % 2 ** 32, Math.floor(seed / 2 ** 32), Math.floor(rate * 2 ** 32), f32Bits(1 / (1 - rate))],
    segments,
  ]);
}

/** Elements from one index to the next along each dim, 0 where the only index serves all. */
function broadcastStrides(shape: readonly number[] | undefined): readonly number[] {
  if (shape === undefined) return [0, 0, 0, 0];
  return shape.map((extent, axis) => (extent === 1 ? 0 : sizeOf(shape.slice(axis + 1))));
}

function auxBytes({ batch, keyLengths, relativeBias }: AttentionRequest): number {
  return relativeBias === undefined ? 0 : 4 * ((keyLengths ? batch : 0) + 2 * relativeBias.maxDistance + 1);
}

/**
 * Key lengths and, behind them, the bucket of each relative position from -maxDistance to maxDistance, beyond which all
 * share one: two in one buffer, as a kernel may have eight.
 */
function makeAux(
  stream: Stream,
  request: AttentionRequest,
  { keyLengths }: ForwardViews,
): { readonly span: Span; readonly isScratch: boolean } | undefined {
  const { relativeBias, batch } = request;
  if (!hasAux({ keyLengths: request.keyLengths, relativeBias: relativeBias !== undefined })) return undefined;
  if (relativeBias === undefined) return keyLengths && { span: keyLengths.span, isScratch: false };
  const { maxDistance } = relativeBias;
  const span = stream.scratch(auxBytes(request));
  const first = keyLengths === undefined ? 0 : storageBytes([batch], 'i32');
  if (keyLengths !== undefined) {
    stream.copy({ ...keyLengths.span, size: first }, { ...span, size: first });
  }
  const buckets = Int32Array.from({ length: 2 * maxDistance + 1 }, (_, at) =>
    relativePositionBucket(at - maxDistance, relativeBias),
  );
  stream.write({ ...span, offset: first, size: buckets.byteLength }, new Uint8Array(buckets.buffer));
  return { span, isScratch: true };
}
