import type { AttentionBackwardInputs, AttentionGradients, AttentionRequest } from '@topk-attention/core';
import type { Engine } from '../engine.js';
import { softmaxRows } from '../ops/softmax.js';
import type { Tf, TfTensor } from '../tf.js';
import { biasGradient, tableGradient } from './backward-bias.js';
import type { QueryTile } from './backward-tiles.js';
import { dropoutFactors } from './dropout.js';
import { rowsAt, sumsByKey } from './kept-products.js';

/** What the tiles of one group of heads share. */
export interface KeyRows {
  /** [pairs * (Lk + 1), D]: the keys of each (batch, key head), and a row of zeros that unused slots point to. */
  readonly keys: TfTensor;
  /** [pairs * (Lk + 1), Dv] */
  readonly values: TfTensor;
  /** i32 [Lq + Lk - 1]: buckets by key - query + Lq - 1, with a relative bias. */
  readonly buckets?: TfTensor;
}

/** What one tile kept, as the gradients of the biases need it. */
export interface TileGradient {
  readonly tile: QueryTile;
  /** i32 [batches, query heads, queries, k] */
  readonly indices: TfTensor;
  /** Of the scores, in the shape of `indices`. */
  readonly scores: TfTensor;
}

/**
 * Keys and values of one group of heads. The row of zeros at the end makes a gather of unused slots safe, whatever the
 * keys hold, without a second array as large as what is gathered.
 */
export function keyRows(
  tf: Tf,
  request: AttentionRequest,
  inputs: AttentionBackwardInputs<TfTensor>,
  { batch, batches, head, heads }: Pick<QueryTile, 'batch' | 'batches' | 'head' | 'heads'>,
): { keys: TfTensor; values: TfTensor } {
  const { keyLength } = request;
  const rowsOf = (x: TfTensor): TfTensor => {
    const width = x.shape[3] as number;
    return tf.tidy(() => {
      const own = tf.slice(x, [batch, head, 0, 0], [batches, heads, keyLength, width]);
      const padded = tf.pad(tf.reshape(own, [batches * heads, keyLength, width]), [
        [0, 0],
        [0, 1],
        [0, 0],
      ]);
      return tf.reshape(padded, [batches * heads * (keyLength + 1), width]);
    });
  };
  return { keys: rowsOf(inputs.k), values: rowsOf(inputs.v) };
}

/** dK and dV of some heads without their last row, which unused slots added to. */
export function withoutUnused(tf: Tf, made: AttentionGradients<TfTensor>): AttentionGradients<TfTensor> {
  const cut = (x: TfTensor): TfTensor => {
    const [batches = 0, heads = 0, rows = 0, width = 0] = x.shape;
    const kept = tf.slice(x, [0, 0, 0, 0], [batches, heads, rows - 1, width]);
    x.dispose();
    return kept;
  };
  return { ...made, k: cut(made.k), v: cut(made.v) };
}

/**
 * Gradients of one tile; those of k and v with a row for unused slots at the end, [batches, heads, Lk + 1, D].
 * dS = P * (dP - sum P dP), dQ = scale dS K, dK = scale dS^T Q, dV = P^T dO over the kept keys.
 */
export function tileGradients(
  engine: Engine,
  request: AttentionRequest,
  inputs: AttentionBackwardInputs<TfTensor>,
  shared: KeyRows,
  tile: QueryTile,
): AttentionGradients<TfTensor> {
  const { tf } = engine;
  const { queryHeads, keyHeads, keyLength, headDim, valueDim, scale } = request;
  const { batch, batches, head, heads, query, queries } = tile;
  const group = queryHeads / keyHeads;
  const pairs = batches * heads;
  const rows = pairs * group * queries;
  const ofTile = (x: TfTensor): TfTensor =>
    tf.slice(x, [batch, head * group, query, 0], [batches, heads * group, queries, x.shape[3] as number]);

  const indices = ofTile(inputs.indices as TfTensor);
  const k = indices.shape[3] as number;
  const listed = ofTile(inputs.scores as TfTensor);
  const weights = softmaxRows(engine, tf.reshape(listed, [rows, k]));
  const at = rowNumbers(tf, indices, pairs, keyLength);
  const gathered = (from: TfTensor, width: number): TfTensor =>
    tf.reshape(rowsAt(engine, from, at), [rows, k, width]);
  const queryRows = tf.reshape(ofTile(inputs.q), [rows, 1, headDim]);
  const gradientRows = tf.reshape(ofTile(inputs.dOutput), [rows, 1, valueDim]);

  const dDropped = tf.tidy(() =>
    tf.reshape(tf.matMul(gathered(shared.values, valueDim), gradientRows, false, true), [rows, k]),
  );
  const factors =
    request.dropout &&
    tf.reshape(dropoutFactors(engine, request.dropout, [batch, head * group, query, 0], indices.shape), [
      rows,
      k,
    ]);
  const dWeights = factors === undefined ? dDropped : tf.mul(dDropped, factors);
  const dropped = factors === undefined ? weights : tf.mul(weights, factors);
  const dScores = tf.tidy(() =>
    tf.mul(weights, tf.sub(dWeights, tf.sum(tf.mul(weights, dWeights), -1, true))),
  );
  const dProducts = tf.mul(dScores, scale);
  const dQ = tf.tidy(() => tf.matMul(tf.reshape(dProducts, [rows, 1, k]), gathered(shared.keys, headDim)));
  const byKey = sumsByKey(engine, at, k, pairs * (keyLength + 1));
  /** Sums over the queries that keep a key of weight * row. */
  const toKeys = (weight: TfTensor, row: TfTensor, width: number): TfTensor =>
    tf.reshape(byKey.sumByKey(weight, row), [batches, heads, keyLength + 1, width]);
  const kept: TileGradient = { tile, indices, scores: tf.reshape(dScores, indices.shape) };
  return {
    q: tf.reshape(dQ, [batches, heads * group, queries, headDim]),
    k: toKeys(dProducts, queryRows, headDim),
    v: toKeys(dropped, gradientRows, valueDim),
    ...(request.bias && { bias: biasGradient(tf, request.bias, keyLength, kept) }),
    ...(shared.buckets && { relativeTable: tableGradient(tf, request, shared.buckets, kept) }),
  };
}

/** i32 [rows * k, 1]: the row of `KeyRows` that each slot stands for, the row of zeros for unused ones. */
function rowNumbers(tf: Tf, indices: TfTensor, pairs: number, keyLength: number): TfTensor {
  return tf.tidy(() => {
    const used = tf.where(tf.less(indices, tf.scalar(0, 'int32')), tf.scalar(keyLength, 'int32'), indices);
    if (pairs === 1) return tf.reshape(used, [-1, 1]);
    const first = tf.mul(tf.range(0, pairs, 1, 'int32'), tf.scalar(keyLength + 1, 'int32'));
    const numbers = tf.add(tf.reshape(used, [pairs, -1]), tf.reshape(first, [pairs, 1]));
    return tf.reshape(numbers, [-1, 1]);
  });
}
