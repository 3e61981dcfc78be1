import type { Tf, TfTensor } from '../tf.js';
import { inScope } from './forward-tile.js';
import { type KeptRows, RowKeeper } from './kept-rows.js';
import { selectByScript } from './select-script.js';
import type { TensorFlowOps } from './tensorflow-ops.js';

const LARGEST_F32 = 3.4028234663852886e38;
/** More than so many blocks per kept key reach the bound only where most scores are equal. */
const MOST_BLOCKS_PER_KEPT = 2;

/**
 * The k largest of each row of `scores` [rows, keys], which hold no NaN. TensorFlow finds a lower bound of the k-th score,
 * the k-th largest of the maxima of blocks of keys (design: two-level selection), takes the blocks that reach it, and lists
 * the scores in them that do, in ascending order: some 1.15 k of a row. The last choice among those, ties included, is made
 * by a loop here.
 */
export function selectByTensorFlow(
  tf: Tf,
  ops: TensorFlowOps,
  scores: TfTensor,
  k: number,
  blockSize: number,
): KeptRows {
  const [rows = 0, keys = 0] = scores.shape;
  const blocks = Math.ceil(keys / blockSize);
  return inScope(tf, () => {
    const whole = blocks * blockSize === keys ? scores : padded(tf, scores, blocks * blockSize);
    const flat = tf.reshape(whole, [rows * blocks, blockSize]);
    const maxima = blockSize === 1 ? whole : tf.reshape(tf.max(flat, 1), [rows, blocks]);
    // What is -inf is no key: rows with fewer keys than k list all they have.
    const bound = tf.maximum(ops.nthLargest(maxima, Math.min(k, blocks) - 1), -LARGEST_F32);
    const isChosen = tf.greaterEqual(maxima, tf.reshape(bound, [rows, 1]));
    const chosen = ops.placesOf(tf.reshape(isChosen, [rows * blocks]));
    if (chosen.shape[0] === 0) return noneKept(rows, k);
    if ((chosen.shape[0] as number) > MOST_BLOCKS_PER_KEPT * rows * Math.min(k, blocks)) {
      return selectByScript(floats(scores), rows, keys, k, () => keys);
    }
    if (blockSize === 1) return keepListed(integers(chosen), gathered(tf, whole, chosen), rows, keys, k);
    return keepInBlocks(tf, ops, { flat, chosen, bound, rows, blocks, blockSize, k });
  });
}

interface ChosenBlocks {
  /** [rows * blocks, blockSize] */
  readonly flat: TfTensor;
  /** i32 [count, 1]: rows of `flat`, ascending. */
  readonly chosen: TfTensor;
  /** [rows] */
  readonly bound: TfTensor;
  readonly rows: number;
  readonly blocks: number;
  readonly blockSize: number;
  readonly k: number;
}

function keepInBlocks(
  tf: Tf,
  ops: TensorFlowOps,
  { flat, chosen, bound, rows, blocks, blockSize, k }: ChosenBlocks,
): KeptRows {
  const count = chosen.shape[0] as number;
  const chosenBlocks = integers(chosen);
  const candidates = tf.gatherND(flat, chosen);
  const limits = tf.tensor(boundOfBlocks(chosenBlocks, blocks, floats(bound)), [count, 1]);
  const isListed = tf.greaterEqual(candidates, limits);
  const listed = ops.placesOf(tf.reshape(isListed, [count * blockSize]));
  const values = gathered(tf, candidates, listed);
  const places = integers(listed);
  const kept = new RowKeeper(rows, k);
  let row = 0;
  let firstBlock = 0;
  for (let at = 0; at < places.length; at++) {
    const place = places[at] as number;
    const slot = Math.floor(place / blockSize);
    const block = chosenBlocks[slot] as number;
    while (block >= firstBlock + blocks) {
      kept.finish();
      row++;
      firstBlock = row * blocks;
    }
    kept.add(values[at] as number, (block - firstBlock) * blockSize + place - slot * blockSize);
  }
  kept.finishUntil(rows);
  return kept;
}

function noneKept(rows: number, k: number): KeptRows {
  const kept = new RowKeeper(rows, k);
  kept.finishUntil(rows);
  return kept;
}

/** The bound of the row that each block belongs to. */
function boundOfBlocks(chosen: Int32Array, blocks: number, bounds: Float32Array): Float32Array {
  const own = new Float32Array(chosen.length);
  let row = 0;
  for (let at = 0; at < chosen.length; at++) {
    while ((chosen[at] as number) >= (row + 1) * blocks) row++;
    own[at] = bounds[row] as number;
  }
  return own;
}

/** `places` are row * keys + key, ascending. */
function keepListed(
  places: Int32Array,
  values: Float32Array,
  rows: number,
  keys: number,
  k: number,
): KeptRows {
  const kept = new RowKeeper(rows, k);
  let row = 0;
  let first = 0;
  for (let at = 0; at < places.length; at++) {
    const place = places[at] as number;
    while (place >= first + keys) {
      kept.finish();
      row++;
      first = row * keys;
    }
    kept.add(values[at] as number, place - first);
  }
  kept.finishUntil(rows);
  return kept;
}

function gathered(tf: Tf, from: TfTensor, places: TfTensor): Float32Array {
  return floats(tf.gatherND(tf.reshape(from, [from.size]), places));
}

function padded(tf: Tf, scores: TfTensor, width: number): TfTensor {
  const [, keys = 0] = scores.shape;
  return tf.pad(
    scores,
    [
      [0, 0],
      [0, width - keys],
    ],
    Number.NEGATIVE_INFINITY,
  );
}

function floats(x: TfTensor): Float32Array {
  return x.dataSync<'float32'>();
}

function integers(x: TfTensor): Int32Array {
  return x.dataSync<'int32'>();
}
