import type { AttentionRequest } from '../contract/attention.js';
import { eq, mul, where } from '../ops/elementwise.js';
import { narrow, reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { scatterAddRows, softmax, softmaxGradient } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ChunkGradients } from './composed-exact.js';
import { dropoutFactors } from './dropout.js';
import { gatherKeyRows, type KeyExtents } from './gather-key-rows.js';
import { queryRows } from './scores.js';

/** What the forward pass kept of the keys that each query takes in. */
export interface SavedLists {
  /** i32 [B, Hq, Lq, k]; -1 in unused slots. */
  readonly indices: Tensor;
  /** f32 [B, Hq, Lq, k]: with scale and biases; -inf in unused slots. */
  readonly scores: Tensor;
}

/** What of a request the gradients over lists depend on. */
type ListRequest = KeyExtents &
  Pick<AttentionRequest, 'queryHeads' | 'headDim' | 'valueDim' | 'scale' | 'dropout'>;

/** Queries [B, Hq, Lq, D], and keys and values in f32. */
interface ListTensors {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

/**
 * Gradients of queries start .. start + size - 1 whose keys stand in lists: those that top-k attention kept, or those
 * that a graph lists. dS = P * (dP - sum P dP); everything else is gathered by the lists or scattered along them.
 *
 * @param dO [B, Hq, size, Dv] in f32
 */
export function listGradients(
  request: ListRequest,
  tensors: ListTensors,
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
