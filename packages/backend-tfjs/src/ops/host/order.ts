/**
 * Puts lists of k kept entries in order: ascending by index, entries of -inf last with index -1. `width` is the length
 * of the rows that the indices point into.
 */
export function hostOrder(
  values: Float32Array,
  indices: Int32Array,
  k: number,
  width: number,
): { readonly values: Float32Array; readonly indices: Int32Array } {
  const own = new Float32Array(values.length);
  const at = new Int32Array(values.length);
  const byIndex = new Float32Array(width);
  for (let start = 0; start < values.length; start += k) {
    const list = at.subarray(start, start + k);
    let used = 0;
    for (let slot = start; slot < start + k; slot++) {
      const value = values[slot] as number;
      if (value === Number.NEGATIVE_INFINITY) continue;
      const index = indices[slot] as number;
      byIndex[index] = value;
      list[used++] = index;
    }
    list.subarray(0, used).sort();
    list.fill(-1, used);
    for (let slot = 0; slot < k; slot++) {
      own[start + slot] = slot < used ? (byIndex[list[slot] as number] as number) : Number.NEGATIVE_INFINITY;
    }
  }
  return { values: own, indices: at };
}
