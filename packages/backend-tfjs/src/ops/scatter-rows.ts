import type { Engine } from '../engine/engine.js';
import type { TfTensor } from '../tf.js';
import { hostScatterRows } from './host/scatter.js';
import { TERMS_IN_A_ROW } from './reduce.js';

/**
 * Sums [rows, width] of the rows of updates [M, width] by row number, for engines on the host; numbers outside [0,
 * rows) are dropped. Uses a loop, which adds in f64, where the engine has no faster scatter or a row has so many
 * updates that one f32 would lose digits; wasm's own scatter takes a tenth of the time. `counted`: the numbers without
 * those of rows that nobody reads.
 */
export function scatterRows(
  { tf, traits }: Engine,
  numbers: Int32Array,
  updates: TfTensor,
  rows: number,
  counted: Int32Array = numbers,
): TfTensor {
  const width = updates.shape[1] as number;
  const isLong = (): boolean => updates.dtype === 'float32' && mostUpdates(counted, rows) > TERMS_IN_A_ROW;
  if (traits.scatter === 'loop' || isLong()) {
    const sums = hostScatterRows(updates.dataSync(), numbers, rows, width);
    return tf.tensor(sums, [rows, width], updates.dtype);
  }
  return tf.tidy(() => {
    const isInside = (number: number): boolean => number >= 0 && number < rows;
    const isWhole = numbers.every(isInside);
    // The others go to an additional row, which is cut off.
    const places = isWhole ? numbers : numbers.map((number) => (isInside(number) ? number : rows));
    const count = isWhole ? rows : rows + 1;
    const sums = tf.scatterND(tf.tensor(places, [places.length, 1], 'int32'), updates, [count, width]);
    return isWhole ? sums : tf.slice(sums, [0, 0], [rows, width]);
  });
}

/** The most updates that a row has; numbers outside [0, rows) do not count. */
function mostUpdates(numbers: Int32Array, rows: number): number {
  if (numbers.length <= TERMS_IN_A_ROW) return numbers.length;
  const counts = new Uint32Array(rows);
  let most = 0;
  for (const number of numbers) {
    if (!(number >= 0 && number < rows)) continue;
    const count = (counts[number] as number) + 1;
    counts[number] = count;
    if (count > most) most = count;
  }
  return most;
}
