import type { AttentionGradients, AttentionRequest } from '../contract/attention.js';
import { zeros } from '../ops/create.js';
import { add, cast, eq, mul, where } from '../ops/elementwise.js';
import { narrow, reshape, transpose } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { broadcastTo, sum, sumTo } from '../ops/reduce.js';
import { putAlong, scatterAddRows, softmax, softmaxGradient } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { type ChunkGradients, type ExactKeys, exactGradients, exactKeys } from './composed-exact.js';
import { gatherKeyRows } from './composed-forward.js';
import { dropoutFactors } from './dropout.js';
import { mapQueryChunks } from './map-query-chunks.js';
import { bucketsOfKept, bucketsOfKeys } from './relative-bias.js';
import type { AttentionTensors } from './request.js';
import { chunkOf, queryRows, replace, type ScoreInputs, scoreInputs } from './scores.js';

/** What the forward pass kept: lists for top-k, nothing for exact attention, which recomputes its scores. */
export interface SavedLists {
  readonly indices: Tensor;
  readonly scores: Tensor;
}

/**
 * Gradients chunk by chunk (paper section 1.6, with sparse rows instead of the published code's dense buffers):
 * dS = P * (dP - sum P dP), dQ = scale dS K, dK = scale dS^T Q, dV = P^T dO; nothing of size Lq x Lk exists.
 */
export function composedAttentionBackward(
  request: AttentionRequest,
  inputs: AttentionTensors,
  saved: SavedLists | undefined,
  dOutput: Tensor,
  queryChunk: number,
): AttentionGradients<Tensor> {
  const { backend } = inputs.q;
  const { queryLength, dtype } = request;
  const sums = new Sums(queryChunk < queryLength);
  const hasLongBias = inputs.bias !== undefined && inputs.bias.shape[2] !== 1;
  const [q, longBias] = scope(() => {
    const tensors = scoreInputs(request, inputs);
    const keys = saved === undefined ? exactKeys(request, tensors.k) : undefined;
    return mapQueryChunks(backend, queryLength, queryChunk, (start, size) => {
      const dO = queryRows(dOutput, start, size);
      const chunk =
        saved === undefined
          ? exactGradients(request, tensors, keys as ExactKeys, dO, start, size)
          : topKChunk(request, tensors, saved, dO, start, size);
      sums.add('k', chunk.k);
      sums.add('v', chunk.v);
      const kept = saved && narrow(saved.indices, 2, start, size);
      if (tensors.relativeTable !== undefined) {
        const { keyPositions } = tensors;
        sums.add('relativeTable', tableGradient(request, chunk.scores, kept, keyPositions, start, size));
      }
      const dQ = cast(chunk.q, dtype);
      if (tensors.bias === undefined) return [dQ];
      const dBias = biasGradient(request, chunkOf(tensors.bias, start, size), chunk.scores, kept);
      if (hasLongBias) return [dQ, dBias];
      sums.add('bias', dBias);
      return [dQ];
    });
  });
  const bias = hasLongBias ? longBias : sums.get('bias');
  const relativeTable = sums.get('relativeTable');
  return {
    q: q as Tensor,
    k: inStorageType(request, sums.get('k') as Tensor),
    v: inStorageType(request, sums.get('v') as Tensor),
    ...(bias && { bias }),
    ...(relativeTable && { relativeTable }),
  };
}

/** The gradient sum over all chunks, in the inputs' storage type. */
function inStorageType(request: AttentionRequest, total: Tensor): Tensor {
  return request.dtype === 'f32' ? total : replace(total, cast(total, request.dtype));
}

/** Running sums over chunks, in chunk order: the order is part of "same plan, same bits". */
class Sums {
  readonly #totals = new Map<string, Tensor>();
  readonly #isChunked: boolean;

  constructor(isChunked: boolean) {
    this.#isChunked = isChunked;
  }

  add(name: string, part: Tensor): void {
    const before = this.#totals.get(name) ?? this.#start(part);
    const scoped = before === undefined ? part : add(before, part);
    // Must outlive the chunk's scope, so only this map may hold it.
    this.#totals.set(name, scoped.unscopedAlias());
    before?.dispose();
  }

  /** Zero, so that the first of several chunks looks like the others and a graph-compiling engine compiles only one. */
  #start(part: Tensor): Tensor | undefined {
    return this.#isChunked ? zeros(part.backend, part.shape, part.dtype) : undefined;
  }

  get(name: string): Tensor | undefined {
    return this.#totals.get(name);
  }
}

function topKChunk(
  request: AttentionRequest,
  tensors: ScoreInputs,
  saved: SavedLists,
  dO: Tensor,
  start: number,
  size: number,
): ChunkGradients {
  const { batch, queryHeads, keyHeads, keyLength, headDim, valueDim, scale } = request;
  const k = saved.indices.shape.at(-1) as number;
  const rows = batch * queryHeads * size;
  return scope(() => {
    const indices = narrow(saved.indices, 2, start, size);
    const scores = reshape(narrow(saved.scores, 2, start, size), [rows, k]);
    const weights = softmax(scores);
    const gradientRows = reshape(dO, [rows, valueDim, 1]);
    const dDropped = scope(() =>
      reshape(matmul(gatherKeyRows(request, tensors.v, indices), gradientRows), [rows, k]),
    );
    const factors =
      request.dropout === undefined
        ? undefined
        : reshape(dropoutFactors(weights.backend, request.dropout, indices.shape, start), [rows, k]);
    const dWeights = factors === undefined ? dDropped : mul(dDropped, factors);
    const dropped = factors === undefined ? weights : mul(weights, factors);
    // An unused slot has weight 0, but 0 * NaN is still NaN.
    const isUnused = eq(scores, Number.NEGATIVE_INFINITY);
    const dScores = scope(() => where(isUnused, 0, softmaxGradient(dWeights, weights)));
    const dProducts = mul(dScores, scale);
    const dQ = scope(() =>
      matmul(reshape(dProducts, [rows, 1, k]), gatherKeyRows(request, tensors.k, indices)),
    );

    const perKeyHead = reshape(indices, [batch * keyHeads, -1]);
    const toKeys = (weight: Tensor, row: Tensor, width: number): Tensor =>
      scope(() => {
        const updates = mul(reshape(weight, [rows, k, 1]), reshape(row, [rows, 1, width]));
        const summed = scatterAddRows(keyLength, perKeyHead, reshape(updates, [batch * keyHeads, -1, width]));
        return reshape(summed, [batch, keyHeads, keyLength, width]);
      });
    return {
      q: reshape(dQ, [batch, queryHeads, size, headDim]),
      scores: reshape(dScores, indices.shape),
      k: toKeys(dProducts, queryRows(tensors.q, start, size), headDim),
      v: toKeys(dropped, dO, valueDim),
    };
  });
}

/** dBias in the bias's own shape, from the score gradients of the kept (or all) keys. */
function biasGradient(
  request: AttentionRequest,
  bias: Tensor,
  dScores: Tensor,
  kept: Tensor | undefined,
): Tensor {
  return scope(() => {
    if (kept === undefined) return sumTo(dScores, bias.shape);
    const wide = bias.shape[3] === 1 ? dScores : putAlong(kept, dScores, request.keyLength);
    return sumTo(wide, bias.shape);
  });
}

/** [buckets, Hq]: the score gradients summed per relative-position bucket. */
function tableGradient(
  request: AttentionRequest,
  dScores: Tensor,
  kept: Tensor | undefined,
  keyPositions: Tensor | undefined,
  start: number,
  size: number,
): Tensor {
  const { batch, queryHeads, keyLength } = request;
  const buckets = request.relativeBias?.buckets ?? 0;
  return scope(() => {
    const byHead = transpose(dScores, [1, 0, 2, 3]);
    if (kept !== undefined) {
      const at = transpose(bucketsOfKept(kept, request, start, size), [1, 0, 2, 3]);
      const summed = scatterAddRows(
        buckets,
        reshape(at, [queryHeads, -1]),
        reshape(byHead, [queryHeads, -1, 1]),
      );
      return transpose(reshape(summed, [queryHeads, buckets]), [1, 0]);
    }
    // All keys: first sum over the batch, then by the bucket of each (query, key).
    const summedBatch = reshape(batch === 1 ? byHead : sum(byHead, { axes: [1] }), [
      queryHeads,
      size * keyLength,
      1,
    ]);
    const indices = broadcastTo(bucketsOfKeys(keyPositions as Tensor, request, start, size), [
      queryHeads,
      size * keyLength,
    ]);
    return transpose(reshape(scatterAddRows(buckets, indices, summedBatch), [queryHeads, buckets]), [1, 0]);
  });
}
