import type {
  LinearAttentionBackwardInputs,
  LinearAttentionGradients,
  LinearAttentionInputs,
  LinearAttentionRequest,
} from '../contract/linear-attention.js';
import { abs, add, cast, div, eq, lt, mul, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { sum } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { type Block, blocksOf, flushOf, type Range } from './blocks.js';
import { Joined } from './joined.js';
import { keyGradients, noQueries, type Peaks, type QuerySums, querySumsWith } from './key-gradients.js';
import { cornerOf, lowerTriangle, type SeenPairs, seenPairs } from './pairs.js';
import { groupsOf, headsPerGroup, type KeyBlock, keyBlock, queryRows } from './parts.js';
import { queryGradients, type RowBlock } from './query-gradients.js';
import { disposeAll, sumsBefore, sumsWith } from './sums.js';

/*
 * With w_ij the weight of key j for query i, out_i = (sum_j w_ij v_j) / d_i with d_i = sum_j w_ij. Let g_i = dOut_i / d_i and
 * h_i = -(sum_j w_ij g_i . v_j) / d_i be the gradients of the two sums (g_i = dOut_i, h_i = 0 without normalising). Then
 *
 *     dphi(q_i) = sum over the keys that i sees of (g_i . v_j + h_i) phi(k_j)      forwards, with sums over keys
 *     dphi(k_j) = sum over the queries that see j of (g_i . v_j + h_i) phi(q_i)    backwards, with sums over queries
 *     dv_j      = sum over the queries that see j of w_ij g_i
 */

/** Gradients of linear attention, block by block: a pass forwards for the queries and one backwards for the keys. */
export function composedLinearAttentionBackward(
  request: LinearAttentionRequest,
  inputs: LinearAttentionBackwardInputs<Tensor>,
  chunk: number,
): LinearAttentionGradients<Tensor> {
  return scope(() => {
    const call: Call = {
      request,
      inputs,
      blocks: blocksOf(request, chunk),
      flush: flushOf(request, chunk, inputs.queryFeatures.backend),
      ...(request.causal && {
        triangle: lowerTriangle(inputs.queryFeatures.backend, Math.min(chunk, request.queryLength)),
      }),
    };
    const { queryFeatures, weights, peaks } = forwards(call);
    return { queryFeatures, ...backwards(call, weights, peaks) };
  });
}

interface Call {
  readonly request: LinearAttentionRequest;
  readonly inputs: LinearAttentionBackwardInputs<Tensor>;
  readonly blocks: readonly Block[];
  readonly flush: () => void;
  /** If causal. */
  readonly triangle?: Tensor;
}

interface ForQueries {
  readonly queryFeatures: Tensor;
  /** Gradients of the sums of weights [B, Hq, Lq, 1], if normalised. */
  readonly weights: Tensor | undefined;
  /** With log scales: the largest one before each block, and after the last. */
  readonly peaks: readonly Tensor[];
}

function forwards({ request, inputs, blocks, triangle, flush }: Call): ForQueries {
  const { batch, queryHeads, queryLength, features, dtype } = request;
  const { backend } = inputs.queryFeatures;
  const ofFeatures = new Joined(backend, queryLength);
  const ofWeights = new Joined(backend, queryLength);
  let sums = sumsBefore(request, inputs);
  const peaks = sums.peak ? [sums.peak.alias()] : [];
  flush();
  for (const { queries, keys } of blocks) {
    const before = sums;
    const made = scope(() => {
      const own = keys && keysOf(request, inputs, keys, queries && triangle, before.peak);
      const next = own && sumsWith(before, own);
      const seen = own?.corner && (own as KeyBlock & SeenPairs);
      const row = queries && queryGradients(request, rowsOf(request, inputs, queries), before, seen);
      const shape = [batch, queryHeads, queries?.size ?? 0];
      return {
        ...(next && { next }),
        ...(row && { features: scope(() => cast(reshape(row.features, [...shape, features]), dtype)) }),
        ...(row?.weights && { weights: reshape(row.weights, [...shape, 1]) }),
      };
    });
    if (made.features && queries) ofFeatures.put(queries.start, made.features);
    if (made.weights && queries) ofWeights.put(queries.start, made.weights);
    if (made.next) {
      sums = made.next;
      disposeAll(before);
    }
    if (sums.peak) peaks.push(sums.peak.alias());
    flush();
  }
  disposeAll(sums);
  return { queryFeatures: ofFeatures.take() as Tensor, weights: ofWeights.take(), peaks };
}

function backwards(
  { request, inputs, blocks, triangle, flush }: Call,
  weights: Tensor | undefined,
  allPeaks: readonly Tensor[],
): Omit<LinearAttentionGradients<Tensor>, 'queryFeatures'> {
  const { keyLength, dtype } = request;
  const { backend } = inputs.queryFeatures;
  const ofFeatures = new Joined(backend, keyLength);
  const ofValues = new Joined(backend, keyLength);
  const ofLogScales = new Joined(backend, keyLength);
  let later = noQueries(request, backend);
  for (const [at, { queries, keys }] of [...blocks.entries()].reverse()) {
    const after = later;
    const made = scope(() => {
      const [before, end] = [allPeaks[at], allPeaks[at + 1]];
      const peaks: Peaks | undefined = before && end && { before, after: end };
      const own = keys && keysOf(request, inputs, keys, queries && triangle, before);
      const row = queries && {
        ...rowsOf(request, inputs, queries),
        ...(weights && { dWeights: perGroup(request, queryRows(request, weights, queries), queries) }),
      };
      const isRead = at > 0 || request.continues;
      const gradients = own && keyGradients(request, own, row, after, peaks);
      return {
        ...(isRead && { later: querySumsWith(after, row, own, peaks) }),
        ...(gradients && {
          features: scope(() => cast(gradients.features, dtype)),
          values: scope(() => cast(gradients.values, dtype)),
          ...(gradients.logScales && { logScales: gradients.logScales }),
        }),
      };
    });
    if (made.features && made.values && keys) {
      ofFeatures.put(keys.start, made.features);
      ofValues.put(keys.start, made.values);
      if (made.logScales) ofLogScales.put(keys.start, made.logScales);
    }
    if (made.later) {
      later = made.later;
      disposeAll(after);
    }
    flush();
  }
  const keyLogScale = ofLogScales.take();
  return {
    keyFeatures: ofFeatures.take() as Tensor,
    value: ofValues.take() as Tensor,
    ...(keyLogScale && { keyLogScale }),
    ...(request.continues && stateGradients(request, inputs, later)),
  };
}

/** Keys of a block and, with the triangle of a causal call, what the block's own queries see of them. */
function keysOf(
  request: LinearAttentionRequest,
  inputs: LinearAttentionInputs<Tensor>,
  range: Range,
  triangle: Tensor | undefined,
  peak: Tensor | undefined,
): KeyBlock & Partial<SeenPairs> {
  const own = keyBlock(request, inputs, range);
  if (triangle === undefined) return own;
  return { ...own, ...seenPairs(cornerOf(triangle, range.size), own.logScales, peak) };
}

function rowsOf(
  request: LinearAttentionRequest,
  { queryFeatures, dOutput, denominators }: LinearAttentionBackwardInputs<Tensor>,
  range: Range,
): RowBlock {
  const { batch, queryHeads, queryLength } = request;
  return scope(() => {
    const rows = queryRows(request, queryFeatures, range);
    const dOut = queryRows(request, dOutput, range);
    if (denominators === undefined) return { rows, dProducts: dOut };
    const divisors = scope(() => {
      const own = queryRows(request, reshape(denominators, [batch, queryHeads, queryLength, 1]), range);
      // Beyond the range of numbers the row is NaN or zeros by accident: its gradients say so.
      return where(lt(abs(own), Number.POSITIVE_INFINITY), own, Number.NaN);
    });
    return {
      rows,
      dProducts: scope(() => where(eq(divisors, 0), 0, div(dOut, divisors))),
      denominators: perGroup(request, divisors, range),
    };
  });
}

/** [N, g n, 1] as [N, g, n, 1]. */
function perGroup(request: LinearAttentionRequest, column: Tensor, { size }: Range): Tensor {
  return reshape(column, [groupsOf(request), headsPerGroup(request), size, 1]);
}

/** Gradients of the sums that a call began with; `first` are the sums over all queries. */
function stateGradients(
  { batch, keyHeads, features, valueDim }: LinearAttentionRequest,
  { sumsBefore: sums, totalBefore: total, logScaleBefore }: LinearAttentionInputs<Tensor>,
  first: QuerySums,
): Pick<LinearAttentionGradients<Tensor>, 'sumsBefore' | 'totalBefore' | 'logScaleBefore'> {
  const dSums = reshape(first.sums, [batch, keyHeads, features, valueDim]);
  const dTotal = first.total && reshape(first.total, [batch, keyHeads, features]);
  const dLogScale =
    logScaleBefore &&
    scope(() => {
      const ofSums = sum(mul(dSums, sums as Tensor), { axes: [2, 3] });
      return dTotal === undefined ? ofSums : add(ofSums, sum(mul(dTotal, total as Tensor), { axes: [2] }));
    });
  return {
    sumsBefore: dSums,
    totalBefore: dTotal ?? scope(() => mul(total as Tensor, 0)),
    ...(dLogScale && { logScaleBefore: dLogScale }),
  };
}
