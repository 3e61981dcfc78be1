import type {
  DType,
  FusedOperation,
  LinearAttentionInputs,
  LinearAttentionOutputs,
  LinearAttentionRequest,
  Shape,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import { LARGEST_GRID, type Span } from '../runtime/kernel.js';
import { bufferSize } from '../runtime/pool.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordCarry, recordJoin, recordSplit, recordTotal } from './carry-sums.js';
import { recordChunkSums } from './chunk-sums.js';
import { recordDivide, rowSumsBytes } from './finish.js';
import { recordLastPeak } from './peaks.js';
import { hidesKeys, type PreparedKeys, preparedBytes, recordKeys } from './prepare-keys.js';
import { recordRows } from './rows.js';
import type { RowsCall } from './rows-call.js';
import {
  chunksIn,
  columnsOf,
  firstPosition,
  groupsOf,
  preferredSegment,
  queriesOf,
  type Segment,
  segmentsOf,
  sumsBytes,
  sumTiles,
} from './sizes.js';

/**
 * Linear attention in segments of keys: sums of each chunk of keys, then the sums before each chunk, then the queries, each
 * from the sums before its chunk and the pairs within it; without causality from the sum over all chunks. The orders of all
 * sums are fixed.
 */
export function fusedLinearAttention<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
): FusedOperation<LinearAttentionRequest, LinearAttentionInputs<T>, LinearAttentionOutputs<T>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const preferredChunk = preferredSegment(request);
      return {
        preferredChunk,
        scratchBytes: (chunk) => scratchBytes(request, chunk),
        describe: () => ({ variant: describeSegments(request, preferredChunk) }),
        run(inputs, chunk) {
          const { batch, queryHeads, keyHeads, queryLength, features, valueDim, normalise } = request;
          const output = allocate([batch, queryHeads, queryLength, valueDim], 'f32');
          const denominators =
            request.saves && normalise ? allocate([batch, queryHeads, queryLength], 'f32') : undefined;
          const state = request.returnsState && {
            sums: allocate([batch, keyHeads, features, valueDim], 'f32'),
            total: allocate([batch, keyHeads, features], 'f32'),
            ...(request.keyLogScale && { logScale: allocate([batch, keyHeads], 'f32') }),
          };
          const keys = recordKeys(stream, request, inputs);
          const rowSums = normalise ? stream.scratch(rowSumsBytes(request)) : undefined;
          const carry = recordRowSums(stream, request, inputs, keys, chunk, rowSums ?? output.span);
          if (rowSums !== undefined) {
            const ofRows = { sums: rowSums, out: output.span };
            recordDivide(stream, request, {
              ...ofRows,
              ...(denominators && { denominators: denominators.span }),
            });
            stream.release(rowSums);
          }
          if (state) {
            const { sums, total } = state;
            recordSplit(stream, request, { joined: carry, sums: sums.span, total: total.span });
            if (state.logScale && keys.scales) {
              recordLastPeak(stream, request, keys.scales.peaks, state.logScale.span);
            }
          }
          stream.release(carry);
          keys.release();
          return { output, ...state, ...(denominators && { denominators }) };
        },
      };
    },
  };
}

export const describeSegments = (request: LinearAttentionRequest, chunk: number): string => {
  const count = segmentsOf(request, chunk).length;
  return `sums by chunks, ${count} ${count === 1 ? 'segment' : 'segments'}`;
};

/** What the kernels do not do. */
export function refusalsOf(request: LinearAttentionRequest, facts: DeviceFacts): string[] {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, features, valueDim, dtype } = request;
  const reasons: string[] = [];
  if (dtype !== 'f32') reasons.push(`${dtype}: made for f32`);
  if (request.keyLogScale && !request.causal) reasons.push('log scales of keys without causality');
  const heads = batch * Math.max(queryHeads, keyHeads);
  if (heads > LARGEST_GRID) reasons.push(`${heads} heads exceed ${LARGEST_GRID} workgroups`);
  const tiles = sumTiles(request);
  if (tiles > LARGEST_GRID) reasons.push(`${tiles} tiles of sums exceed ${LARGEST_GRID} workgroups`);
  const most = Math.max(
    4 * heads * Math.max(queryLength, keyLength) * Math.max(features, valueDim + 1),
    sumsBytes(request),
  );
  if (most > facts.bindingBytes) {
    reasons.push(`a tensor of ${most} bytes exceeds a binding of ${facts.bindingBytes}`);
  }
  return reasons;
}

/** Bytes beyond the results of the forward pass, in segments of that many tokens. */
function scratchBytes(request: LinearAttentionRequest, chunk: number): number {
  const rows = request.normalise ? bufferSize(rowSumsBytes(request)) : 0;
  return preparedBytes(request) + rows + segmentBytes(request, chunk);
}

/** Bytes of the sums of a segment's chunks, and of those before it. */
export function segmentBytes(request: LinearAttentionRequest, tokens: number): number {
  const sums = sumsBytes(request);
  return bufferSize(sums) + bufferSize(sums * chunksIn(request, tokens));
}

/** The sums that a call begins with, [N, F, Dv + 1]. The caller releases them. */
export function recordStart(
  stream: Stream,
  request: LinearAttentionRequest,
  { sumsBefore, totalBefore }: LinearAttentionInputs<View>,
): Span {
  const carry = stream.scratch(sumsBytes(request));
  if (sumsBefore !== undefined && totalBefore !== undefined) {
    recordJoin(stream, request, { sums: sumsBefore.span, total: totalBefore.span, joined: carry });
  } else {
    stream.clear(carry);
  }
  return carry;
}

/** The part of `RowsCall` that rows of queries share. */
export function callOfQueries(
  request: LinearAttentionRequest,
  { start, end, chunk }: Segment,
  { first, count }: { readonly first: number; readonly count: number },
): Omit<RowsCall, 'inner' | 'columns' | 'sumsRow' | 'sumsColumn'> {
  const { queryHeads, keyHeads, queryLength, keyLength, causal, features } = request;
  return {
    causal,
    backwards: false,
    groups: groupsOf(request),
    rowHeads: queryHeads / keyHeads,
    rowLength: queryLength,
    rowOffset: firstPosition(request),
    firstRow: first,
    endRow: first + count,
    ...{ start, end, chunk },
    otherHeads: 1,
    otherLength: keyLength,
    otherOffset: 0,
    sumsSize: features * columnsOf(request),
    keys: keyLength,
  };
}

/**
 * Goes through the segments with the sums over keys: `visit` is called for queries that the given sums [chunks, N, F, Dv +
 * 1] serve. Returns the sums over all keys, which the caller releases.
 */
export function recordKeySegments(
  stream: Stream,
  request: LinearAttentionRequest,
  inputs: LinearAttentionInputs<View>,
  keys: PreparedKeys,
  tokens: number,
  visit: (segment: Segment, queries: { readonly first: number; readonly count: number }, sums: Span) => void,
): Span {
  const carry = recordStart(stream, request, inputs);
  const segments = segmentsOf(request, tokens);
  for (const segment of segments) {
    const { start, end, chunk, chunks } = segment;
    const sums = stream.scratch(sumsBytes(request) * chunks);
    recordChunkSums(
      stream,
      {
        ...{ groups: groupsOf(request), heads: 1, features: request.features, columns: columnsOf(request) },
        ...{ length: request.keyLength, first: start, end, chunk, chunks },
        ...{ offset: 0, backwards: false, keys: request.keyLength },
        hides: !request.causal && hidesKeys(request),
      },
      { x: keys.features, y: keys.values, scales: keys.scales, out: sums },
    );
    if (request.causal) {
      recordCarry(stream, request, segment, {
        ...{ sums, carry, backwards: false },
        peaks: keys.scales?.peaks,
      });
      visit(segment, queriesOf(request, segment), sums);
    } else {
      recordTotal(stream, request, chunks, { sums, carry });
    }
    stream.release(sums);
    stream.flush();
  }
  if (!request.causal) {
    visit(segments[0] as Segment, { first: 0, count: request.queryLength }, carry);
  }
  return carry;
}

/** Sums of weights times values, [B, Hq, Lq, Dv], with those of weights as a last column if normalised. */
function recordRowSums(
  stream: Stream,
  request: LinearAttentionRequest,
  inputs: LinearAttentionInputs<View>,
  keys: PreparedKeys,
  tokens: number,
  out: Span,
): Span {
  return recordKeySegments(stream, request, inputs, keys, tokens, (segment, queries, sums) =>
    recordSumsOfRows(stream, request, inputs.queryFeatures, keys, segment, queries, sums, out),
  );
}

/** The same for the queries of one segment. */
export function recordSumsOfRows(
  stream: Stream,
  request: LinearAttentionRequest,
  queryFeatures: View,
  keys: PreparedKeys,
  segment: Segment,
  queries: { readonly first: number; readonly count: number },
  sums: Span,
  out: Span,
): void {
  const { features, valueDim, normalise } = request;
  const width = columnsOf(request);
  const columns = normalise ? width : valueDim;
  recordRows(
    stream,
    {
      ...callOfQueries(request, segment, queries),
      ...{ inner: features, columns, sumsRow: width, sumsColumn: 1 },
    },
    {
      a: { span: queryFeatures.span, stride: features },
      p: sums,
      b: { span: keys.features, stride: features },
      c: { span: keys.values, stride: width },
      scales: keys.scales,
      result: { span: out, stride: columns },
    },
  );
}
