import type { AttentionRequest } from '../contract/attention.js';
import { mayHideKeys } from '../contract/request-facts.js';
import {
  finitePart,
  finiteRows,
  type PartialOperand,
  partialOperand,
  partialProduct,
} from '../functions/partial-product.js';
import { add, eq, logicalNot, lt, mul, sigmoid, sub, where } from '../ops/elementwise.js';
import { narrow, reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { sum } from '../ops/reduce.js';
import { softmax, softmaxGradient } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { dropoutFactors } from './dropout.js';
import { chunkScores, foldQueries, queryRows, replace, type ScoreInputs } from './scores.js';

/*
 * Exact attention multiplies all keys by all queries, even for pairs that are not valid. A NaN or an infinity in a row
 * that does not take part must not reach the result: 0 * NaN is NaN.
 *
 * If the options may hide any pair, `partialProduct` checks each one. If they hide nothing, only a score that is itself
 * -inf hides a pair, and that requires a non-finite query or key: then all scores of that query, or of that key, are
 * NaN or infinite, so every row that sees such a pair is NaN throughout. Hence checking rows is enough. (The remaining
 * case is a product of finite numbers that overflows to -inf: its key is hidden, but a NaN in its value still shows.)
 */

/** Values in the form that every chunk's products need. */
export type ExactValues = { readonly partial: PartialOperand } | { readonly rows: Tensor };

export function exactValues(request: AttentionRequest, { k, v }: ScoreInputs): ExactValues {
  if (mayHideKeys(request)) return { partial: partialOperand(v) };
  return { rows: scope(() => where(finiteRows(k), v, 0)) };
}

/** Output of queries start .. start + size - 1, [B, Hq, size, Dv]. */
export function exactChunk(
  request: AttentionRequest,
  tensors: ScoreInputs,
  values: ExactValues,
  start: number,
  size: number,
): Tensor {
  const { batch, queryHeads, valueDim, dropout } = request;
  const shape = [batch, queryHeads, size, valueDim];
  return scope(() => {
    const scores = chunkScores(request, tensors, start, size);
    const taken = 'partial' in values ? foldQueries(request, validKeys(scores)) : undefined;
    const whole = replace(scores, weightsOf(request, scores));
    let weights = whole;
    if (dropout !== undefined) {
      weights = replace(
        whole,
        scope(() => mul(whole, dropoutFactors(whole.backend, dropout, whole.shape, start))),
      );
    }
    const folded = foldQueries(request, weights);
    if ('partial' in values) {
      return reshape(partialProduct(folded, taken as Tensor, values.partial, { isNonNegative: true }), shape);
    }
    // A non-finite query gives NaN or sees nothing: each of its weights says which.
    const isFinite = scope(() => finiteRows(queryRows(tensors.q, start, size)));
    return where(isFinite, reshape(matmul(folded, values.rows), shape), narrow(weights, 3, 0, 1));
  });
}

/** Weights of scores [B, Hq, size, Lk], 0 for -inf. A NaN or +inf makes the whole row NaN. */
function weightsOf({ sigmoidShift }: AttentionRequest, scores: Tensor): Tensor {
  if (sigmoidShift === undefined) return softmax(scores);
  return scope(() => {
    const shifted = add(scores, sigmoidShift);
    const plain = replace(shifted, sigmoid(shifted));
    const isBelow = lt(scores, Number.POSITIVE_INFINITY);
    const marked = replace(plain, where(isBelow, plain, Number.NaN));
    isBelow.dispose();
    const total = sum(marked, { axes: [-1], keepDims: true });
    return replace(marked, add(marked, sub(total, total)));
  });
}

/** The gradient of the scores from that of their weights. */
function scoreGradient({ sigmoidShift }: AttentionRequest, dWeights: Tensor, weights: Tensor): Tensor {
  if (sigmoidShift === undefined) return softmaxGradient(dWeights, weights);
  return scope(() => mul(dWeights, mul(weights, sub(1, weights))));
}

/** bool of the shape of the scores [B, Hq, size, Lk]: which keys are valid. */
function validKeys(scores: Tensor): Tensor {
  return scope(() => logicalNot(eq(scores, Number.NEGATIVE_INFINITY)));
}

/** Gradients of one chunk of queries in f32, before they are summed over chunks. */
export interface ChunkGradients {
  readonly q: Tensor;
  /** Gradients of the scores before `scale`: [B, Hq, size, k] for kept keys or [B, Hq, size, Lk]. */
  readonly scores: Tensor;
  /** [B, Hkv, Lk, D] */
  readonly k: Tensor;
  readonly v: Tensor;
}

/** Keys in the form that every chunk's backward products need. */
export interface ExactKeys {
  /** NaN and infinities as 0: a query that sees such a key is NaN through its scores, and so is its gradient. */
  readonly finite: Tensor;
  /** bool [B, Hkv, Lk, 1]: the key row is finite; absent where options hide pairs. */
  readonly isFinite?: Tensor;
}

export function exactKeys(request: AttentionRequest, k: Tensor): ExactKeys {
  return { finite: finitePart(k), ...(!mayHideKeys(request) && { isFinite: finiteRows(k) }) };
}

/** Gradients of queries start .. start + size - 1; dO [B, Hq, size, Dv]. */
export function exactGradients(
  request: AttentionRequest,
  tensors: ScoreInputs,
  keys: ExactKeys,
  dO: Tensor,
  start: number,
  size: number,
): ChunkGradients {
  const { batch, queryHeads, headDim, scale, dropout } = request;
  return scope(() => {
    const scores = chunkScores(request, tensors, start, size);
    const seen = validKeys(scores);
    const weights = replace(scores, weightsOf(request, scores));
    const factors = dropout && dropoutFactors(weights.backend, dropout, weights.shape, start);
    const dropped = (x: Tensor): Tensor => (factors === undefined ? x : replace(x, mul(x, factors)));
    const valid = (x: Tensor): Tensor => replace(x, where(seen, x, 0));
    const outputRows = foldQueries(request, dO);
    const dWeights = valid(
      dropped(scope(() => reshape(matmul(outputRows, tensors.v, { transposeB: true }), weights.shape))),
    );
    // In a NaN row all weights are NaN, even those of invalid keys.
    const dScores = valid(scoreGradient(request, dWeights, weights));
    dWeights.dispose();
    const taken = valid(dropped(weights));
    factors?.dispose();

    const queries = scope(() => foldQueries(request, queryRows(tensors.q, start, size)));
    const folded = foldQueries(request, dScores);
    const dQ = scope(() =>
      mul(reshape(matmul(folded, keys.finite), [batch, queryHeads, size, headDim]), scale),
    );
    const dK = scope(() => mul(matmul(folded, finitePart(queries), { transposeA: true }), scale));
    return {
      q: dQ,
      scores: dScores,
      k: dK,
      v: valueGradient(request, { taken, seen, queries, outputRows, dK }, keys),
    };
  });
}

/** dV = P^T dO over the valid pairs. */
function valueGradient(
  request: AttentionRequest,
  parts: Readonly<Record<'taken' | 'seen' | 'queries' | 'outputRows' | 'dK', Tensor>>,
  { isFinite }: ExactKeys,
): Tensor {
  const { outputRows, dK } = parts;
  return scope(() => {
    const [taken, seen] = [foldQueries(request, parts.taken), foldQueries(request, parts.seen)];
    if (isFinite === undefined) {
      const options = { transposeA: true, isNonNegative: true };
      return partialProduct(taken, seen, partialOperand(outputRows), options);
    }
    const rows = where(finiteRows(parts.queries), outputRows, 0);
    // A non-finite key has NaN gradients if a query sees it, otherwise none: dK says which.
    return where(isFinite, matmul(taken, rows, { transposeA: true }), narrow(dK, 3, 0, 1));
  });
}
