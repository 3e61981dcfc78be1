type Values = Float32Array | Int32Array | Uint8Array;

/**
 * Sums [rows, width] of the rows of `updates` by row number, in order; numbers outside [0, rows) are dropped. Floats
 * are added in f64: one f32 loses a per cent of a million equal terms.
 */
export function hostScatterRows(updates: Values, numbers: Int32Array, rows: number, width: number): Values {
  if (updates instanceof Float32Array) return sumsOfFloats(updates, numbers, rows, width);
  const sums = updates instanceof Int32Array ? new Int32Array(rows * width) : new Uint8Array(rows * width);
  for (let slot = 0, from = 0; slot < numbers.length; slot++, from += width) {
    const row = numbers[slot] as number;
    if (!(row >= 0 && row < rows)) continue;
    for (let at = 0; at < width; at++) {
      sums[row * width + at] = (sums[row * width + at] as number) + (updates[from + at] as number);
    }
  }
  return sums;
}

/** Separate, because a loop over several types of arrays is twenty times as slow. */
function sumsOfFloats(updates: Float32Array, numbers: Int32Array, rows: number, width: number): Float32Array {
  const sums = new Float64Array(rows * width);
  for (let slot = 0, from = 0; slot < numbers.length; slot++, from += width) {
    const row = numbers[slot] as number;
    if (!(row >= 0 && row < rows)) continue;
    const to = row * width;
    for (let at = 0; at < width; at++) {
      sums[to + at] = (sums[to + at] as number) + (updates[from + at] as number);
    }
  }
  return new Float32Array(sums);
}

/** Row i of batch b of [batch, count] as row b n + i of all batches; -1 for indices outside [0, n). */
export function hostRowNumbers(indices: Int32Array, batch: number, n: number): Int32Array {
  const count = indices.length / batch;
  const numbers = new Int32Array(indices.length);
  for (let entry = 0, slot = 0; entry < batch; entry++) {
    for (const end = slot + count; slot < end; slot++) {
      const index = indices[slot] as number;
      numbers[slot] = index >= 0 && index < n ? entry * n + index : -1;
    }
  }
  return numbers;
}
