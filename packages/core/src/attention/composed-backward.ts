import type { AttentionGradients, AttentionRequest } from '../contract/attention.js';
import { cast } from '../ops/elementwise.js';
import { narrow, reshape, transpose } from '../ops/layout.js';
import { broadcastTo, sum, sumTo } from '../ops/reduce.js';
import { putAlong, scatterAddRows } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { type ExactKeys, exactGradients, exactKeys } from './composed-exact.js';
import { listGradients, type SavedLists } from './list-gradients.js';
import { mapQueryChunks } from './map-query-chunks.js';
import { bucketsOfKept, bucketsOfKeys } from './relative-bias.js';
import type { AttentionTensors } from './request.js';
import { chunkOf, queryRows, replace, scoreInputs } from './scores.js';
import { Sums } from './sums.js';

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
          : listGradients(request, tensors, saved, dO, start, size);
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
