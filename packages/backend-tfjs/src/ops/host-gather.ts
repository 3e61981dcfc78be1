type Values = Float32Array | Int32Array | Uint8Array;

/** Rows of `width` numbers of [batch, n, width] at indices [batch, count]; index -1 gives zeros. */
export function hostGatherRows(
  data: Values,
  indices: ArrayLike<number>,
  batch: number,
  n: number,
  width: number,
): Values {
  const count = indices.length / batch;
  const rows = emptyLike(data, indices.length * width);
  for (let slot = 0; slot < indices.length; slot++) {
    const index = indices[slot] as number;
    if (index < 0) continue;
    const from = (Math.floor(slot / count) * n + index) * width;
    if (width === 1) rows[slot] = data[from] as number;
    else rows.set(data.subarray(from, from + width), slot * width);
  }
  return rows;
}

function emptyLike(values: Values, length: number): Values {
  if (values instanceof Float32Array) return new Float32Array(length);
  return values instanceof Int32Array ? new Int32Array(length) : new Uint8Array(length);
}
