import {
  type DType,
  type FusedOperation,
  type LinearAttentionBackwardInputs,
  type LinearAttentionGradients,
  type LinearAttentionRequest,
  type Shape,
  TopKError,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import { bufferSize } from '../runtime/pool.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordCarry, recordSplit, recordTotal } from './carry-sums.js';
import { recordChunkSums } from './chunk-sums.js';
import { recordRowGradients, rowSumsBytes } from './finish.js';
import {
  callOfQueries,
  describeSegments,
  recordKeySegments,
  recordStart,
  recordSumsOfRows,
  refusalsOf,
  segmentBytes,
} from './fused-linear-attention.js';
import { hidesKeys, type PreparedKeys, preparedBytes, recordKeys } from './prepare-keys.js';
import { recordRowProducts } from './row-products.js';
import { recordRows } from './rows.js';
import {
  columnsOf,
  firstPosition,
  groupsOf,
  ofQueries,
  preferredSegment,
  type Segment,
  segmentsOf,
  sumsBytes,
} from './sizes.js';

/**
 * Gradients of linear attention, by the kernels of its forward pass. With (g, h) the gradients of a row's sums (see
 * `recordRowGradients`) as one row G, and values with a column of ones as V:
 *
 * 1. Segments forwards: sums over keys again; G; dphi(q) = G times the sums of V phi(k)^T.
 * 2. Segments backwards: sums over queries of phi(q) G^T; dphi(k) = V times those of G phi(q)^T; dV from phi(k).
 */
export function fusedLinearBackward<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
): FusedOperation<LinearAttentionRequest, LinearAttentionBackwardInputs<T>, LinearAttentionGradients<T>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (request.continues && request.causal && request.queryLength > request.keyLength) {
        refusals.push('a state and queries before the first key');
      }
      if (refusals.length > 0) return { refusals };
      const preferredChunk = preferredSegment(request);
      return {
        preferredChunk,
        scratchBytes(chunk) {
          const rows = (request.normalise ? 2 : 1) * bufferSize(rowSumsBytes(request));
          const ofKeys = segmentBytes(request, chunk);
          const most = request.causal ? ofKeys : Math.max(ofKeys, segmentBytes(ofQueries(request), chunk));
          return preparedBytes(request) + rows + most;
        },
        describe: () => ({ variant: describeSegments(request, preferredChunk) }),
        run(inputs, chunk) {
          const made = {
            queryFeatures: allocate(inputs.queryFeatures.shape, 'f32'),
            keyFeatures: allocate(inputs.keyFeatures.shape, 'f32'),
            value: allocate(inputs.value.shape, 'f32'),
            ...(inputs.sumsBefore && { sumsBefore: allocate(inputs.sumsBefore.shape, 'f32') }),
            ...(inputs.totalBefore && { totalBefore: allocate(inputs.totalBefore.shape, 'f32') }),
            ...(inputs.keyLogScale && { keyLogScale: allocate(inputs.keyLogScale.shape, 'f32') }),
            ...(inputs.logScaleBefore && { logScaleBefore: allocate(inputs.logScaleBefore.shape, 'f32') }),
          };
          const keys = recordKeys(stream, request, inputs);
          const rows = stream.scratch(rowSumsBytes(request));
          recordQueryGradients(stream, request, inputs, keys, chunk, rows, made.queryFeatures);
          const carry = recordKeyGradients(stream, request, inputs, keys, chunk, rows, made);
          if (made.sumsBefore && made.totalBefore) {
            recordSplit(stream, request, {
              joined: carry,
              ...{ sums: made.sumsBefore.span, total: made.totalBefore.span },
            });
          }
          if (made.keyLogScale) {
            // The weights of a key are exp of its log scale times those of its features.
            const { keyLength, features } = request;
            recordRowProducts(
              stream,
              { rows: groupsOf(request) * keyLength, width: features },
              { a: keys.features, b: made.keyFeatures.span, out: made.keyLogScale.span },
            );
          }
          if (made.logScaleBefore) {
            const before = recordStart(stream, request, inputs);
            recordRowProducts(
              stream,
              { rows: groupsOf(request), width: request.features * columnsOf(request) },
              { a: before, b: carry, out: made.logScaleBefore.span },
            );
            stream.release(before);
          }
          stream.release(carry);
          stream.release(rows);
          keys.release();
          return made;
        },
      };
    },
  };
}

/** dphi(q), and the rows G [B, Hq, Lq, Dv + 1]. */
function recordQueryGradients(
  stream: Stream,
  request: LinearAttentionRequest,
  inputs: LinearAttentionBackwardInputs<View>,
  keys: PreparedKeys,
  tokens: number,
  rows: Span,
  dQueries: View,
): void {
  const { features, normalise } = request;
  const { denominators, dOutput, queryFeatures } = inputs;
  if (normalise && denominators === undefined) {
    throw new TopKError(
      'UNSUPPORTED',
      'webgpu: the backward pass of linear attention needs the denominators',
      {
        fix: 'Pass those of the forward pass',
      },
    );
  }
  const width = columnsOf(request);
  const rowSums = normalise ? stream.scratch(rowSumsBytes(request)) : undefined;
  const carry = recordKeySegments(stream, request, inputs, keys, tokens, (segment, queries, sums) => {
    if (rowSums !== undefined) {
      recordSumsOfRows(stream, request, queryFeatures, keys, segment, queries, sums, rowSums);
    }
    recordRowGradients(stream, request, queries, {
      d_output: dOutput.span,
      ...(rowSums && denominators && { sums: rowSums, denominators: denominators.span }),
      out: rows,
    });
    recordRows(
      stream,
      {
        ...callOfQueries(request, segment, queries),
        ...{ inner: width, columns: features, sumsRow: 1, sumsColumn: width },
      },
      {
        a: { span: rows, stride: width },
        p: sums,
        b: { span: keys.values, stride: width },
        c: { span: keys.features, stride: features },
        scales: keys.scales,
        result: { span: dQueries.span, stride: features },
      },
    );
  });
  stream.release(carry);
  if (rowSums !== undefined) stream.release(rowSums);
}

/** dphi(k) and dV. Returns the sums of phi(q) G^T over all queries, which the caller releases. */
function recordKeyGradients(
  stream: Stream,
  request: LinearAttentionRequest,
  { queryFeatures }: LinearAttentionBackwardInputs<View>,
  keys: PreparedKeys,
  tokens: number,
  rows: Span,
  made: { readonly keyFeatures: View; readonly value: View },
): Span {
  const { causal, features, queryLength, keyLength, queryHeads, keyHeads, valueDim } = request;
  const groups = groupsOf(request);
  const heads = queryHeads / keyHeads;
  const width = columnsOf(request);
  const offset = causal ? firstPosition(request) : 0;
  const carry = stream.scratch(sumsBytes(request));
  stream.clear(carry);
  // Without causality the queries are cut by their own positions.
  const segments = segmentsOf(causal ? request : ofQueries(request), tokens);
  const recordKeysOf = ({ start, end, chunk }: Segment, sums: Span): void => {
    const call = {
      ...{ causal, backwards: true, groups, rowHeads: 1, rowLength: keyLength, rowOffset: 0 },
      ...{ firstRow: start, endRow: end, start, end, chunk },
      ...{ otherHeads: heads, otherLength: queryLength, otherOffset: offset, sumsSize: features * width },
      keys: keyLength,
    };
    const ofFeatures = { span: queryFeatures.span, stride: features };
    const ofRows = { span: rows, stride: width };
    const ofValues = { span: keys.values, stride: width };
    const flags = hidesKeys(request) && { flags: ofValues };
    recordRows(
      stream,
      { ...call, ...{ inner: width, columns: features, sumsRow: 1, sumsColumn: width } },
      {
        ...{ a: ofValues, p: sums, b: ofRows, c: ofFeatures, ...flags, scales: keys.scales },
        result: { span: made.keyFeatures.span, stride: features },
      },
    );
    recordRows(
      stream,
      { ...call, ...{ inner: features, columns: valueDim, sumsRow: width, sumsColumn: 1 } },
      {
        a: { span: keys.features, stride: features },
        ...{ p: sums, b: ofFeatures, c: ofRows, ...flags, scales: keys.scales },
        result: { span: made.value.span, stride: valueDim },
      },
    );
  };
  for (const segment of segments.reverse()) {
    const { start, end, chunk, chunks } = segment;
    const sums = stream.scratch(sumsBytes(request) * chunks);
    recordChunkSums(
      stream,
      {
        ...{ groups, heads, features, columns: width, length: queryLength },
        ...{
          first: start - offset,
          end: end - offset,
          chunk,
          chunks,
          offset,
          backwards: true,
          keys: keyLength,
          hides: false,
        },
      },
      { x: queryFeatures.span, y: rows, scales: keys.scales, out: sums },
    );
    if (causal) {
      recordCarry(stream, request, segment, {
        ...{ sums, carry, backwards: true },
        peaks: keys.scales?.peaks,
      });
      recordKeysOf(segment, sums);
    } else {
      recordTotal(stream, request, chunks, { sums, carry });
    }
    stream.release(sums);
    stream.flush();
  }
  if (!causal) recordKeysOf({ start: 0, end: keyLength, chunk: keyLength, chunks: 1 }, carry);
  return carry;
}
