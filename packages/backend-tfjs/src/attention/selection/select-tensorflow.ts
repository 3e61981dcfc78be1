import { inScope } from '../../ops/in-scope.js';
import type { TensorFlowOps } from '../../ops/tensorflow-ops.js';
import type { Tf, TfTensor } from '../../tf.js';
import { type KeptRows, RowKeeper } from './kept-rows.js';
import { selectByScript } from './select-script.js';

const LARGEST_F32 = 3.4028234663852886e38;
/** More blocks per kept key reach the bound only where most scores are equal. */
const MOST_BLOCKS_PER_KEPT = 2;

/**
 * The k largest of each row of `scores` [rows, keys], which hold no NaN, by two-level selection. TensorFlow finds a
 * lower bound of the k-th score, the k-th largest of the maxima of blocks of keys; takes the blocks that reach it; and
 * lists the scores in them that do, in ascending order of keys: some 1.15 k per row. A loop here makes the last choice,
 * ties included.
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
    // -inf means no key: rows with fewer than k keys list all they have.
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
  // Places are in order, row by row.
  const shift = Math.log2(blockSize);
  const keys = new Int32Array(places.length);
  const kept = new RowKeeper(rows, k);
  let from = 0;
  let firstBlock = 0;
  for (let at = 0; at < places.length; at++) {
    const place = places[at] as number;
    const block = chosenBlocks[place >> shift] as number;
    for (; block >= firstBlock + blocks; firstBlock += blocks) {
      kept.keep(values, keys, from, at);
      from = at;
    }
    keys[at] = ((block - firstBlock) << shift) + (place & (blockSize - 1));
  }
  keepRest(kept, values, keys, from, rows - firstBlock / blocks);
  return kept;
}

/** The last row with entries, then `rows` - 1 empty ones. */
function keepRest(kept: RowKeeper, values: Float32Array, keys: Int32Array, from: number, rows: number): void {
  for (let row = 0; row < rows; row++) kept.keep(values, keys, row === 0 ? from : keys.length, keys.length);
}

function noneKept(rows: number, k: number): KeptRows {
  const kept = new RowKeeper(rows, k);
  keepRest(kept, new Float32Array(0), new Int32Array(0), 0, rows);
  return kept;
}

/** The bound of the row that each block belongs to. */
function boundOfBlocks(chosen: Int32Array, blocks: number, bounds: Float32Array): Float32Array {
  const own = new Float32Array(chosen.length);
  let row = 0;
  let end = blocks;
  for (let at = 0; at < chosen.length; at++) {
    while ((chosen[at] as number) >= end) {
      row++;
      end += blocks;
    }
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
  const own = new Int32Array(places.length);
  let from = 0;
  let first = 0;
  for (let at = 0; at < places.length; at++) {
    for (; (places[at] as number) >= first + keys; first += keys) {
      kept.keep(values, own, from, at);
      from = at;
    }
    own[at] = (places[at] as number) - first;
  }
  keepRest(kept, values, own, from, rows - first / keys);
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
