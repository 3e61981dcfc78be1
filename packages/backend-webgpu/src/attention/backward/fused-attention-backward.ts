import { bytesPerElement } from '@topk-attention/core';
import {
  type AttentionBackwardInputs,
  type AttentionGradients,
  type AttentionRequest,
  type DType,
  type FusedOperation,
  type Shape,
  TopKError,
} from '@topk-attention/core/backend';
import { ALIGNMENT, windowOf } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { recordNarrow } from '../shared/narrow.js';
import { positionBytes, recordBucketsOfPositions } from '../shared/relative-bias.js';
import { bytesOfGroups, heldBytes, MOST_KEYS, planGroups } from './groups.js';
import type { Group } from './layout/groups.js';
import { type BackwardViews, type BiasOf, type KeyResults, recordGroup } from './record-group.js';
import { type BackwardTuning, DEFAULT_TUNING } from './tuning.js';

/**
 * Gradients of top-k attention from the saved (index, score) lists (paper section 1.6), with nothing of size Lq x Lk:
 *
 * 1. For each query: weights from the scores, dP by a gather of V, dS, and dQ by a gather of K.
 * 2. The entries (query, key) are sorted by key, stable in the queries: two counting passes, first into tiles of
 *    keys.
 * 3. For each key: dK and dV by a gather of the rows of q and dO. Long runs are cut into pieces, so that many
 *    workgroups share a key chosen by every query.
 *
 * All orders of summation are fixed: equal inputs give equal bits on one device. Query heads that share a key head are
 * rows of one list, so their sum needs no extra step. Heads are taken in groups, long ones in ranges of queries, so
 * that transient memory is bounded whatever the length.
 */
export function fusedAttentionBackward<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
  tuning: BackwardTuning = DEFAULT_TUNING,
  biasOf: BiasOf = 'keys',
): FusedOperation<AttentionRequest, AttentionBackwardInputs<T>, AttentionGradients<T>> {
  const groupsOf = (request: AttentionRequest, chunk: number): Group[] =>
    planGroups(request, tuning, facts.bindingBytes, chunk);
  const hasSubgroups = facts.subgroupMinSize === 32 && facts.subgroupMaxSize === 32;
  return {
    prepare(request) {
      const reasons = refusals(request, facts);
      if (reasons.length > 0) return { refusals: reasons };
      const bytesFor = (chunk: number) => bytesOfGroups(request, tuning, groupsOf(request, chunk));
      return {
        // The work is divided by bytes; a smaller chunk only bounds them further.
        preferredChunk: request.queryLength,
        scratchBytes: (chunk) => heldBytes(bytesFor(chunk)) + extraBytes(request),
        largestBytes: (chunk) => Math.max(...Object.values(bytesFor(chunk))),
        describe() {
          const count = groupsOf(request, request.queryLength).length;
          const groups = `${count} ${count === 1 ? 'group' : 'groups'} of heads or queries`;
          return { variant: `${hasSubgroups ? 'subgroups of 32' : 'plain'}, ${groups}` };
        },
        run: (inputs, chunk) => gradients(request, inputs, chunk),
      };
    },
  };

  function gradients(
    request: AttentionRequest,
    inputs: AttentionBackwardInputs<T>,
    chunk: number,
  ): AttentionGradients<T> {
    const { indices, scores } = inputs;
    if (indices === undefined || scores === undefined) {
      throw new TopKError(
        'UNSUPPORTED',
        'webgpu: the backward pass of top-k attention needs the saved lists',
        {
          fix: 'Pass the indices and scores of the forward pass',
        },
      );
    }
    const dQ = allocate(inputs.q.shape, inputs.q.dtype);
    const dK = allocate(inputs.k.shape, inputs.k.dtype);
    const dV = allocate(inputs.v.shape, inputs.v.dtype);
    const dBias = inputs.bias && allocate(inputs.bias.shape, 'f32');
    const dTable = inputs.relativeTable && allocate(inputs.relativeTable.shape, 'f32');
    for (const sums of [dBias, dTable]) if (sums !== undefined) stream.clear(sums.span);
    const positions = dTable && recordBucketsOfPositions(stream, request);
    const { q, k, v, dOutput } = inputs;
    const views: BackwardViews = {
      ...{ q, k, v, dOutput, indices, scores, dQ, biasOf },
      ...(dBias && { dBias }),
      ...(dTable && { dTable }),
      ...(positions && { positions }),
    };
    recordAll(stream, request, groupsOf(request, chunk), views, dK, dV, tuning, hasSubgroups);
    if (positions !== undefined) stream.release(positions.buckets);
    return { q: dQ, k: dK, v: dV, ...(dBias && { bias: dBias }), ...(dTable && { relativeTable: dTable }) };
  }
}

function refusals(request: AttentionRequest, facts: DeviceFacts): string[] {
  const { k, keyLength, queryLength, headDim, valueDim, dtype } = request;
  if (k === 'all') return ["k = 'all': there are no lists of kept keys"];
  const reasons: string[] = [];
  if (keyLength > MOST_KEYS) reasons.push(`${keyLength} keys exceed ${MOST_KEYS}`);
  const element = bytesPerElement(dtype);
  const largest = [
    ['one head of the keys or values', keyLength * Math.max(headDim, valueDim) * element],
    ['gradients of one head of the keys or values', keyLength * Math.max(headDim, valueDim) * 4],
    ['a bias for one query', 4 * (request.bias?.[3] ?? 0)],
    ['the lists of one query', 8 * k],
  ] as const;
  for (const [what, bytes] of largest) {
    if (bytes + ALIGNMENT > facts.bindingBytes)
      reasons.push(`${what}: ${bytes} bytes exceed a binding of ${facts.bindingBytes}`);
  }
  if (queryLength * request.queryHeads * request.batch >= 2 ** 32) reasons.push('2^32 queries or more');
  return reasons;
}

/** Bytes that the bias and the relative table need in addition to the group's. */
function extraBytes(request: AttentionRequest): number {
  const { bias, relativeBias, queryLength } = request;
  const ofBias = bias !== undefined && bias[2] === 1 && bias[3] === 1 ? 4 * queryLength : 0;
  if (relativeBias === undefined) return ofBias;
  return ofBias + positionBytes(request) + 4 * Math.ceil(queryLength / 32) * relativeBias.buckets;
}

function recordAll(
  stream: Stream,
  request: AttentionRequest,
  groups: readonly Group[],
  views: BackwardViews,
  dK: View,
  dV: View,
  tuning: BackwardTuning,
  hasSubgroups: boolean,
): void {
  const { keyLength, headDim, valueDim } = request;
  const isHalf = request.dtype === 'f16';
  const bytes = bytesOfGroups(request, tuning, groups);
  let wide: { readonly dK: Span; readonly dV: Span } | undefined;
  for (const group of groups) {
    const keys = group.units * keyLength;
    const first = group.firstUnit * keyLength;
    if (isHalf) {
      // Sums over ranges of queries stay in f32 until the last of them.
      wide ??= { dK: stream.scratch(4 * keys * headDim), dV: stream.scratch(4 * keys * valueDim) };
    }
    const results: KeyResults =
      wide === undefined
        ? {
            dK: windowOf(dK, first * headDim, keys * headDim),
            dV: windowOf(dV, first * valueDim, keys * valueDim),
          }
        : { dK: { span: wide.dK, base: 0 }, dV: { span: wide.dV, base: 0 } };
    recordGroup(stream, request, group, views, results, tuning, bytes, hasSubgroups);
    if (wide !== undefined && group.isLast) {
      recordNarrow(stream, wide.dK, dK, first * headDim, keys * headDim);
      recordNarrow(stream, wide.dV, dV, first * valueDim, keys * valueDim);
      stream.release(wide.dK);
      stream.release(wide.dV);
      wide = undefined;
    }
    stream.flush();
  }
}
