import type { DType, Shape } from '@topk-attention/core';
import {
  type AttentionBackwardInputs,
  type AttentionGradients,
  type AttentionRequest,
  type FusedOperation,
  groupSize,
  queryStartOf,
} from '@topk-attention/core/backend';
import { type Binding, windowOf } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { View } from '../../runtime/view.js';
import { geometryOf, type Part, queryWindow, visibleKeys } from '../shared/geometry.js';
import { recordNarrow } from '../shared/narrow.js';
import {
  type PositionBuckets,
  recordBucketsOfPositions,
  recordRelativeVectors,
} from '../shared/relative-bias.js';
import { scoreStride } from '../shared/scores/scores-text.js';
import { recordBiasGradient } from './bias-gradient.js';
import { type RunSums, recordPartProducts } from './part-products.js';
import { recordPartScores } from './part-scores.js';
import {
  bytesOf,
  EXACT_BACKWARD_TUNING,
  type ExactBackwardTuning,
  headRunsOf,
  type PartSize,
  partSize,
  refusals,
} from './parts.js';
import { recordRowGradients } from './row-gradients.js';
import { keyOperand, type RowOperand } from './row-operands.js';
import { recordScale } from './scale.js';
import type { Slopes } from './slopes.js';
import { recordTableGradient } from './table-gradient.js';
import { emptyLists } from './unusual-lists.js';

/**
 * Gradients of exact attention, with nothing of size Lq x Lk beyond one part of the queries: scores and dP = dO V^T of
 * a part by tiled products, weights and dS row by row in place, then dQ = scale dS K, dK = scale dS^T Q and dV = P^T
 * dO by tiled products. All orders of summation are fixed: equal inputs give equal bits on one device.
 */
export function exactBackward<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
  tuning: ExactBackwardTuning = EXACT_BACKWARD_TUNING,
): FusedOperation<AttentionRequest, AttentionBackwardInputs<T>, AttentionGradients<T>> {
  return {
    prepare(request) {
      const reasons = refusals(request, facts);
      if (reasons.length > 0) return { refusals: reasons };
      const bytesFor = (chunk: number) => bytesOf(request, partSize(request, chunk, facts, tuning), facts);
      return {
        // The work is divided by bytes; a smaller chunk only bounds them further.
        preferredChunk: request.queryLength,
        scratchBytes: (chunk) => bytesFor(chunk).reduce((sum, bytes) => sum + bytes, 0),
        largestBytes: (chunk) => Math.max(...bytesFor(chunk)),
        describe() {
          const { heads, queries } = partSize(request, request.queryLength, facts, tuning);
          return { variant: `exact, ${heads} heads x ${queries} queries at a time` };
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
    const dQ = allocate(inputs.q.shape, inputs.q.dtype);
    const dK = allocate(inputs.k.shape, inputs.k.dtype);
    const dV = allocate(inputs.v.shape, inputs.v.dtype);
    const dBias = inputs.bias && allocate(inputs.bias.shape, 'f32');
    const dTable = inputs.relativeTable && allocate(inputs.relativeTable.shape, 'f32');
    for (const sums of [dBias, dTable]) if (sums !== undefined) stream.clear(sums.span);
    const positions = dTable && recordBucketsOfPositions(stream, request);
    const relative = recordRelativeVectors(stream, request, inputs.relativeTable, positions);
    const size = partSize(request, chunk, facts, tuning);
    const runs = headRunsOf(request, size);
    const unusual = emptyLists(stream, runs.flat());
    const call: Call = {
      ...{ stream, request, inputs, dQ, dK, dV, relative, positions, unusual: unusual.of },
      ...(dBias && { dBias }),
      ...(dTable && { dTable }),
      ...{ facts, largest: size },
    };
    for (const parts of runs) recordRun(call, parts);
    stream.release(unusual.all);
    if (relative !== undefined) stream.release(relative);
    if (positions !== undefined) stream.release(positions.buckets);
    return { q: dQ, k: dK, v: dV, ...(dBias && { bias: dBias }), ...(dTable && { relativeTable: dTable }) };
  }
}

interface Call {
  readonly stream: Stream;
  readonly request: AttentionRequest;
  readonly inputs: AttentionBackwardInputs<View>;
  readonly dQ: View;
  readonly dK: View;
  readonly dV: View;
  readonly dBias?: View;
  readonly dTable?: View;
  /** The relative bias as vectors; see `recordRelativeVectors`. */
  readonly relative: Span | undefined;
  readonly positions: PositionBuckets | undefined;
  /** For each part, the list of its queries whose dO is not finite. */
  readonly unusual: ReadonlyMap<Part, Span>;
  readonly facts: DeviceFacts;
  /** Heads and queries of the largest part. */
  readonly largest: PartSize;
}

/** Sums in f32 for a run of elements of a gradient: in place, or in scratch until `finish` narrows them. */
function sumsOf(stream: Stream, out: View, first: number, count: number): Binding & { finish(): void } {
  if (out.dtype !== 'f16') return { ...windowOf(out, first, count), finish: () => {} };
  const span = stream.scratch(4 * count);
  return {
    span,
    base: 0,
    finish: () => {
      recordNarrow(stream, span, out, first, count);
      stream.release(span);
    },
  };
}

/** Clears the elements of a run, but not others at the start of its binding. */
function clearRun(stream: Stream, { span, base }: Binding): void {
  const ofOtherHeads = 4 * base;
  stream.clear({ ...span, offset: span.offset + ofOtherHeads, size: span.size - ofOtherHeads });
}

/** All queries of a run of heads. */
function recordRun(call: Call, parts: readonly Part[]): void {
  const { stream, request, inputs } = call;
  const { queryLength, keyLength, headDim, valueDim, causal, scale } = request;
  const { firstHead, heads } = parts[0] as Part;
  const units = heads / groupSize(request);
  const firstUnit = firstHead / groupSize(request);
  const dQ = sumsOf(stream, call.dQ, firstHead * queryLength * headDim, heads * queryLength * headDim);
  const dK = sumsOf(stream, call.dK, firstUnit * keyLength * headDim, units * keyLength * headDim);
  const dV = sumsOf(stream, call.dV, firstUnit * keyLength * valueDim, units * keyLength * valueDim);
  // Leading queries that see no key, and keys that no query sees, belong to no part's products.
  if (causal && queryStartOf(request) < 0) clearRun(stream, dQ);
  if (visibleKeys(request, parts[0] as Part) < keyLength) for (const sums of [dK, dV]) clearRun(stream, sums);
  const keys = keyOperand(stream, request, inputs.k, parts[0] as Part, rowScale(scale));
  for (const [index, part] of parts.entries()) {
    if (visibleKeys(request, part) > 0) recordPart(call, part, keys, { dQ, dK, dV }, index > 0);
    stream.flush();
  }
  keys.release();
  for (const sums of [dQ, dK, dV]) sums.finish();
}

/**
 * The factor applied to q and k: the scale if at most 1 in magnitude; a larger one could overflow a
 * hidden key.
 */
function rowScale(scale: number): number {
  return Math.abs(scale) <= 1 ? scale : 1;
}

/** `keys`: those of the run, times `rowScale`. `adds`: the sums of the keys' gradients hold those of other parts. */
function recordPart(call: Call, part: Part, keys: RowOperand, sums: RunSums, adds: boolean): void {
  const { stream, request, inputs } = call;
  const { valueDim, dtype, causal, keyLengths, dropout, keyLength, scale } = request;
  const sigmoid = request.sigmoidShift !== undefined;
  const { heads, queries } = part;
  const stride = scoreStride(keyLength);
  const gradient = queryWindow(inputs.dOutput, request, part);

  const { facts, relative, largest } = call;
  const made = recordPartScores(stream, facts, request, inputs, relative, part, largest);
  // Named for what they hold once the rows are done.
  const { scores: weights, products: slopes } = made;
  const unusual = call.unusual.get(part) as Span;
  const geometry = geometryOf(request, part);
  const rows = { row_fours: stride / 4, width: valueDim };
  const variant = { dtype, causal, keyLengths, dropout: dropout !== undefined, sigmoid };
  recordRowGradients(
    stream,
    variant,
    geometry,
    { ...rows, shift: request.sigmoidShift ?? 0 },
    {
      scores: weights,
      products: slopes,
      gradient,
      unusual,
      key_lengths: inputs.keyLengths?.span,
    },
  );

  const ofPart: Slopes = { request, part, span: slopes, fours: rows.row_fours };
  if (call.dBias !== undefined) recordBiasGradient(stream, ofPart, call.dBias);
  if (call.dTable !== undefined && call.positions !== undefined) {
    recordTableGradient(stream, ofPart, call.positions, call.dTable);
  }

  if (rowScale(scale) !== scale) recordScale(stream, slopes, heads * queries * stride, scale);

  recordPartProducts(stream, facts, request, part, {
    ...{ slopes, weights, gradient, unusual, keys, q: inputs.q, dOutput: inputs.dOutput },
    ...{ sums, adds, factor: rowScale(scale) },
  });
  stream.release(slopes);
  stream.release(weights);
}
