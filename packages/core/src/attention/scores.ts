import type { AttentionRequest } from '../contract/attention.js';
import { queryStartOf, scalesExactly } from '../contract/request-facts.js';
import { arange } from '../ops/create.js';
import { add, cast, le, logicalAnd, lt, mul, where } from '../ops/elementwise.js';
import { narrow, reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { relativeBiasChunk } from './relative-bias.js';
import type { AttentionTensors } from './request.js';

/** The tensors of a call, with what all chunks share. */
export interface ScoreInputs extends AttentionTensors {
  /** i32 [1, 1, 1, Lk]: 0, 1, ...; present where validity or a relative bias depends on the position. */
  readonly keyPositions?: Tensor;
}

/**
 * Keys and values widened to f32 (scores and sums are f32 whatever the storage type), and the key positions: made once
 * per call. The caller's scope disposes of them.
 */
export function scoreInputs(request: AttentionRequest, inputs: AttentionTensors): ScoreInputs {
  const { causal, keyLengths, relativeBias, keyLength } = request;
  const tensors = { ...inputs, k: cast(inputs.k, 'f32'), v: cast(inputs.v, 'f32') };
  if (!causal && !keyLengths && relativeBias === undefined) return tensors;
  const { backend } = tensors.q;
  return { ...tensors, keyPositions: scope(() => reshape(arange(backend, keyLength), [1, 1, 1, keyLength])) };
}

/** Rows start .. start + size - 1 of a tensor [B, Hq, Lq, ...] by query, in f32. */
export function queryRows(x: Tensor, start: number, size: number): Tensor {
  return scope(() => cast(narrow(x, 2, start, size), 'f32'));
}

/**
 * Scores of queries start .. start + size - 1 against every key, [B, Hq, size, Lk]: scale q.k + biases, and -inf
 * wherever the key is not valid, whatever q, k or the biases hold there (design: Decision 3).
 */
export function chunkScores(
  request: AttentionRequest,
  tensors: ScoreInputs,
  start: number,
  size: number,
): Tensor {
  const { queryHeads, keyLength, batch, scale } = request;
  return scope(() => {
    // Scale the queries instead of the scores if that changes no bit of the scores.
    const isExact = scalesExactly(scale);
    let scores = scope(() => {
      const queries = foldQueries(request, queryRows(tensors.q, start, size));
      const product = matmul(isExact && scale !== 1 ? mul(queries, scale) : queries, tensors.k, {
        transposeB: true,
      });
      return reshape(product, [batch, queryHeads, size, keyLength]);
    });
    if (!isExact) scores = replace(scores, mul(scores, scale));
    const { bias } = tensors;
    if (bias !== undefined) {
      const before = scores;
      scores = replace(
        before,
        scope(() => add(before, chunkOf(bias, start, size))),
      );
    }
    const { relativeTable } = tensors;
    if (relativeTable !== undefined) {
      const before = scores;
      const positions = tensors.keyPositions as Tensor;
      scores = replace(
        before,
        scope(() => add(before, relativeBiasChunk(relativeTable, positions, request, start, size))),
      );
    }
    const valid = validKeys(request, tensors, start, size);
    return valid === undefined ? scores : where(valid, scores, Number.NEGATIVE_INFINITY);
  });
}

/** Disposes `before`, returns `after`. A scope frees only when it closes; score-sized intermediates must go at once. */
export function replace(before: Tensor, after: Tensor): Tensor {
  before.dispose();
  return after;
}

/** Makes query heads that share a key head rows of it: [B, Hq, C, D] viewed as [B, Hkv, G * C, D], no copy. */
export function foldQueries(request: AttentionRequest, chunk: Tensor): Tensor {
  const { batch, keyHeads } = request;
  return reshape(chunk, [batch, keyHeads, -1, chunk.shape.at(-1) as number]);
}

/** The part of a mask or bias that belongs to a chunk of queries. */
export function chunkOf(broadcast: Tensor, start: number, size: number): Tensor {
  return broadcast.shape[2] === 1 ? broadcast.alias() : narrow(broadcast, 2, start, size);
}

/** bool, broadcastable to [B, Hq, size, Lk], or undefined where every key is valid. */
function validKeys(
  request: AttentionRequest,
  tensors: ScoreInputs,
  start: number,
  size: number,
): Tensor | undefined {
  const { batch, keyLength, causal } = request;
  const positions = tensors.keyPositions as Tensor;
  const conditions: Tensor[] = [];
  if (tensors.keyLengths !== undefined) {
    conditions.push(lt(positions, reshape(tensors.keyLengths, [batch, 1, 1, 1])));
  }
  if (causal) {
    // Past the last key nothing changes, and the clamped sum fits an i32.
    const first = Math.min(start + queryStartOf(request), keyLength);
    conditions.push(le(positions, reshape(arange(positions.backend, size, first), [1, 1, size, 1])));
  }
  if (tensors.mask !== undefined) conditions.push(chunkOf(tensors.mask, start, size));
  return conditions.length === 0 ? undefined : conditions.reduce(logicalAnd);
}
