import {
  type AttentionBackwardInputs,
  type AttentionGradients,
  type AttentionRequest,
  groupSize,
} from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import { binary } from '../../ops/elementwise.js';
import { slice } from '../../ops/layout.js';
import { matmul } from '../../ops/matmul.js';
import { softmaxRows } from '../../ops/softmax.js';
import type { Tf, TfTensor } from '../../tf.js';
import { dropoutFactors } from '../dropout.js';
import type { QueryTile } from '../tiles.js';
import { biasGradient, type TileGradient, tableGradient } from './bias.js';
import { rowsAt, sumsByKey } from './rows-by-key.js';

/** Shared by the tiles of one group of heads. */
export interface KeyRows {
  /** [pairs * (Lk + 1), D]: the keys of each (batch, key head), and a row of zeros that unused slots point to. */
  readonly keys: TfTensor;
  /** [pairs * (Lk + 1), Dv] */
  readonly values: TfTensor;
  /** Buckets by key - query + Lq - 1, with a relative bias. */
  readonly buckets?: Int32Array;
}

/**
 * Keys and values of one group of heads. Unused slots gather the row of zeros at the end, whatever the keys hold; this
 * saves a second array as large as the gathered rows.
 */
export function keyRows(
  engine: Engine,
  request: AttentionRequest,
  inputs: AttentionBackwardInputs<TfTensor>,
  { batch, batches, head, heads }: Pick<QueryTile, 'batch' | 'batches' | 'head' | 'heads'>,
): { keys: TfTensor; values: TfTensor } {
  const { tf } = engine;
  const { keyLength } = request;
  const rowsOf = (x: TfTensor): TfTensor => {
    const width = x.shape[3] as number;
    return tf.tidy(() => {
      const own = slice(engine, x, [batch, head, 0, 0], [batches, heads, keyLength, width]);
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

/** dK and dV of some heads without their last row, which holds the sums of unused slots. */
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
 * Gradients of one tile; those of k and v end with a row for unused slots, [batches, heads, Lk + 1, D].
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
  const { keyLength, headDim, valueDim, scale } = request;
  const { batch, batches, head, heads, query, queries } = tile;
  const group = groupSize(request);
  const pairs = batches * heads;
  const rows = pairs * group * queries;
  const ofTile = (x: TfTensor): TfTensor => {
    const width = x.shape[3] as number;
    return slice(engine, x, [batch, head * group, query, 0], [batches, heads * group, queries, width]);
  };
  const indices = ofTile(inputs.indices as TfTensor);
  const k = indices.shape[3] as number;
  // Read into JavaScript, because integers are slow in most engines' ops.
  const keys = indices.dataSync<'int32'>();
  const numbers = rowNumbers(keys, pairs, keyLength);
  const at = tf.tensor(numbers, [rows * k, 1], 'int32');
  const listed = ofTile(inputs.scores as TfTensor);
  const weights = softmaxRows(engine, tf.reshape(listed, [rows, k]));
  const gathered = (from: TfTensor, width: number): TfTensor =>
    tf.reshape(rowsAt(engine, from, at), [rows, k, width]);
  const queryRows = tf.reshape(ofTile(inputs.q), [rows, 1, headDim]);
  const gradientRows = tf.reshape(ofTile(inputs.dOutput), [rows, 1, valueDim]);

  const dDropped = tf.tidy(() => {
    const products = matmul(engine, gathered(shared.values, valueDim), gradientRows, false, true);
    return withoutUnusedSlots(tf, tf.reshape(products, [rows, k]), keys);
  });
  const factors =
    request.dropout &&
    tf.reshape(dropoutFactors(engine, request.dropout, [batch, head * group, query, 0], indices.shape), [
      rows,
      k,
    ]);
  const dWeights = factors === undefined ? dDropped : tf.mul(dDropped, factors);
  const dropped = factors === undefined ? weights : tf.mul(weights, factors);
  const dScores = tf.tidy(() =>
    tf.mul(weights, binary(engine, 'sub', dWeights, tf.sum(tf.mul(weights, dWeights), -1, true))),
  );
  const dProducts = tf.mul(dScores, scale);
  const dQ = tf.tidy(() =>
    matmul(engine, tf.reshape(dProducts, [rows, 1, k]), gathered(shared.keys, headDim), false, false),
  );
  const byKey = sumsByKey(engine, { at, numbers, keys, k, count: pairs * (keyLength + 1) });
  /** For each key, the sum of weight * row over the queries that keep it. */
  const toKeys = (weight: TfTensor, row: TfTensor, width: number): TfTensor =>
    tf.reshape(byKey.sumByKey(weight, row), [batches, heads, keyLength + 1, width]);
  const kept: TileGradient = { tile, keys, scores: tf.reshape(dScores, indices.shape) };
  return {
    q: tf.reshape(dQ, [batches, heads * group, queries, headDim]),
    k: toKeys(dProducts, queryRows, headDim),
    v: toKeys(dropped, gradientRows, valueDim),
    ...(request.bias && { bias: biasGradient(engine, request.bias, keyLength, kept) }),
    ...(shared.buckets && { relativeTable: tableGradient(engine, request, shared.buckets, kept) }),
  };
}

/** Sets unused slots of x [rows, k] to 0: a row of zeros times a NaN or infinite gradient is NaN. */
function withoutUnusedSlots(tf: Tf, x: TfTensor, keys: Int32Array): TfTensor {
  if (keys.every((key) => key >= 0)) return x;
  const isUsed = tf.tensor(
    Uint8Array.from(keys, (key) => (key < 0 ? 0 : 1)),
    x.shape,
    'bool',
  );
  return tf.where(isUsed, x, tf.zerosLike(x));
}

/** For each slot, its row of `KeyRows`; for unused slots, a row of zeros. */
function rowNumbers(keys: Int32Array, pairs: number, keyLength: number): Int32Array {
  const perPair = keys.length / pairs;
  const numbers = new Int32Array(keys.length);
  for (let pair = 0, slot = 0; pair < pairs; pair++) {
    const first = pair * (keyLength + 1);
    for (const end = slot + perPair; slot < end; slot++) {
      const key = keys[slot] as number;
      numbers[slot] = first + (key < 0 ? keyLength : key);
    }
  }
  return numbers;
}
