type Values = Float32Array | Int32Array | Uint8Array;

/**
 * Rows of `width` numbers of [batch, n, width] at indices [batch, count]. Index -1 gives zeros; any other index
 * outside [0, n) gives NaN, or 0 where the numbers are not floats.
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
  const outside = rows instanceof Float32Array ? Number.NaN : 0;
  for (let slot = 0; slot < indices.length; slot++) {
    const index = indices[slot] as number;
    if (!(index >= 0 && index < n)) {
      if (index !== -1) rows.fill(outside, slot * width, (slot + 1) * width);
      continue;
    }
    const from = (Math.floor(slot / count) * n + index) * width;
    if (width === 1) rows[slot] = data[from] as number;
    else rows.set(data.subarray(from, from + width), slot * width);
  }
  return rows;
}

/** Overwrites those rows [indices, width] whose index is outside [0, n), as `hostGatherRows` fills them. */
export function clearRows(rows: Values, indices: ArrayLike<number>, n: number, width: number): void {
  const outside = rows instanceof Float32Array ? Number.NaN : 0;
  for (let slot = 0; slot < indices.length; slot++) {
    const index = indices[slot] as number;
    if (index >= 0 && index < n) continue;
    rows.fill(index === -1 ? 0 : outside, slot * width, (slot + 1) * width);
  }
}

function emptyLike(values: Values, length: number): Values {
  if (values instanceof Float32Array) return new Float32Array(length);
  return values instanceof Int32Array ? new Int32Array(length) : new Uint8Array(length);
}
