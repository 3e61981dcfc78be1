type Values = Float32Array | Int32Array | Uint8Array;

/**
 * Rows of `width` numbers of [batch, n, width] at indices [batch, count]; index -1 gives zeros, any other outside of
 * [0, n) NaN, or 0 where the numbers are no floats.
 */
export function hostGatherRows(
  data: Values,
  indices: ArrayLike<number>,
  batch: number,
  n: number,
  width: number,
): Values {
  const count = indices.length / batch;
  const rows = emptyLike(data, indices.length * width);
  const stranger = rows instanceof Float32Array ? Number.NaN : 0;
  for (let slot = 0; slot < indices.length; slot++) {
    const index = indices[slot] as number;
    if (!(index >= 0 && index < n)) {
      if (index !== -1) rows.fill(stranger, slot * width, (slot + 1) * width);
      continue;
    }
    const from = (Math.floor(slot / count) * n + index) * width;
    if (width === 1) rows[slot] = data[from] as number;
    else rows.set(data.subarray(from, from + width), slot * width);
  }
  return rows;
}

/** Overwrites the rows [indices, width] of indices that are none of n rows. */
export function clearRows(rows: Values, indices: ArrayLike<number>, n: number, width: number): void {
  const stranger = rows instanceof Float32Array ? Number.NaN : 0;
  for (let slot = 0; slot < indices.length; slot++) {
    const index = indices[slot] as number;
    if (index >= 0 && index < n) continue;
    rows.fill(index === -1 ? 0 : stranger, slot * width, (slot + 1) * width);
  }
}

function emptyLike(values: Values, length: number): Values {
  if (values instanceof Float32Array) return new Float32Array(length);
  return values instanceof Int32Array ? new Int32Array(length) : new Uint8Array(length);
}
