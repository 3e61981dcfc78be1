import type { AttentionRequest } from '@topk-attention/core';
import { slice } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { softmaxRows } from '../ops/softmax.js';
import type { TfTensor } from '../tf.js';
import type { ForwardPass } from './forward-tile.js';
import type { QueryTile } from './tiles.js';

/** Rows [rows, Dv] of exact attention over the values [pairs, Lk, Dv] of some heads, from scores [rows, visible keys]. */
export function exactRows(
  pass: ForwardPass,
  values: TfTensor,
): (scores: TfTensor, tile: QueryTile) => Float32Array {
  const { engine, request } = pass;
  const { tf } = engine;
  const [pairs = 1, length = 1, width = 1] = values.shape;
  const firstKeys = (x: TfTensor, visible: number): TfTensor =>
    visible === length ? x : slice(engine, x, [0, 0, 0], [pairs, visible, x.shape[2] as number]);
  // One for both ways, so that what a query does not see changes no bit of its result. The cpu engine's own makes two
  // more arrays of this size. Rows of all -inf, NaN here, are mended in the product, which is smaller.
  const softmax = (scores: TfTensor): TfTensor =>
    engine.name === 'cpu' ? softmaxRows(engine, scores) : tf.softmax(scores);
  if (pass.isOrdinary) {
    return (scores) => {
      const visible = scores.shape[1] as number;
      const weights = softmax(scores);
      scores.dispose();
      const rows = matmul(
        engine,
        tf.reshape(weights, [pairs, -1, visible]),
        firstKeys(values, visible),
        false,
        false,
      );
      const found = rows.dataSync<'float32'>();
      // All that went in are numbers, so NaN can only mean a softmax over nothing.
      return canHide(request) ? found.map((x) => (Number.isNaN(x) ? 0 : x)) : found;
    };
  }
  // A key of score -inf takes part with weight 0, and 0 * NaN is NaN: values that are no numbers are left out of the
  // product, and added for the queries that see their key.
  const strangers = strangersOf(values.dataSync<'float32'>());
  const isFinite = tf.less(tf.abs(values), Number.POSITIVE_INFINITY);
  const safe = tf.where(isFinite, values, tf.zerosLike(values));
  return (scores) => {
    const visible = scores.shape[1] as number;
    const weights = softmax(scores);
    const ofPairs = tf.reshape(weights, [pairs, -1, visible]);
    const rows = matmul(engine, ofPairs, firstKeys(safe, visible), false, false)
      .dataSync<'float32'>()
      .slice();
    const own = scores.dataSync<'float32'>();
    addStrangers(rows, strangers, weights.dataSync<'float32'>(), own, { pairs, length, visible, width });
    const isEmpty = emptyRows(own, visible);
    return rows.map((x, at) => (isEmpty[Math.floor(at / width)] === 1 ? 0 : x));
  };
}

/** Whether a query may see nothing although everything that went in is a number. */
function canHide(request: AttentionRequest): boolean {
  const { causal, keyLengths, mask, bias } = request;
  return causal || keyLengths || mask !== undefined || bias !== undefined;
}

/** Elements that are no numbers, with their places. */
interface Strangers {
  readonly values: Float32Array;
  readonly places: readonly number[];
}

function strangersOf(values: Float32Array): Strangers {
  const places: number[] = [];
  for (let at = 0; at < values.length; at++) if (!Number.isFinite(values[at])) places.push(at);
  return { values, places };
}

interface Extents {
  readonly pairs: number;
  /** Of the values. */
  readonly length: number;
  readonly visible: number;
  readonly width: number;
}

/** Adds weight * value to the rows [pairs * rows, width] of the queries whose score of the value's key is above -inf. */
function addStrangers(
  rows: Float32Array,
  { values, places }: Strangers,
  weights: Float32Array,
  scores: Float32Array,
  { pairs, length, visible, width }: Extents,
): void {
  const perPair = scores.length / visible / pairs;
  for (const place of places) {
    const column = place % width;
    const key = Math.floor(place / width) % length;
    if (key >= visible) continue;
    const first = Math.floor(place / width / length) * perPair;
    const value = values[place] as number;
    for (let row = first; row < first + perPair; row++) {
      const at = row * visible + key;
      if (scores[at] === Number.NEGATIVE_INFINITY) continue;
      rows[row * width + column] = (rows[row * width + column] as number) + (weights[at] as number) * value;
    }
  }
}

/** 1 for rows of `width` that hold nothing but -inf. */
function emptyRows(scores: Float32Array, width: number): Uint8Array {
  const isHidden = (score: number): boolean => score === Number.NEGATIVE_INFINITY;
  return Uint8Array.from({ length: scores.length / width }, (_, row) =>
    scores.subarray(row * width, (row + 1) * width).every(isHidden) ? 1 : 0,
  );
}
