import type { Engine } from '../engine.js';
import type { TfTensor } from '../tf.js';
import { hostScatterRows } from './host-scatter.js';
import { TERMS_IN_A_ROW } from './reduce.js';
import { wasmSlice } from './wasm-slice.js';

/**
 * Sums [rows, width] of the rows of updates [M, width] by row number, for the engines on the host; numbers outside of
 * [0, rows) are dropped. In a loop, which adds in f64; on wasm only where a row has so many updates that one f32 would lose
 * digits: its own scatter takes a tenth of the time.
 */
export function scatterRows(
  { tf, name }: Engine,
  numbers: Int32Array,
  updates: TfTensor,
  rows: number,
): TfTensor {
  const width = updates.shape[1] as number;
  const isFloat = updates.dtype === 'float32';
  if (name === 'cpu' || (isFloat && mostUpdates(numbers, rows) > TERMS_IN_A_ROW)) {
    const sums = hostScatterRows(updates.dataSync(), numbers, rows, width);
    return tf.tensor(sums, [rows, width], updates.dtype);
  }
  return tf.tidy(() => {
    const isInside = (number: number): boolean => number >= 0 && number < rows;
    const isWhole = numbers.every(isInside);
    // The others go to a row behind those that count, which is cut off.
    const places = isWhole ? numbers : numbers.map((number) => (isInside(number) ? number : rows));
    const count = isWhole ? rows : rows + 1;
    const sums = tf.scatterND(tf.tensor(places, [places.length, 1], 'int32'), updates, [count, width]);
    if (isWhole) return sums;
    return (
      wasmSlice(tf, sums, [count, width], [0, 0], [rows, width]) ?? tf.slice(sums, [0, 0], [rows, width])
    );
  });
}

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
