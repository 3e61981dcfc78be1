/** Batches whose examples are sorted together. More batches shuffle less well and pad less. */
const BATCHES_PER_BUCKET = 50;

/** Indices with every run of 50 batches sorted by length, so that each batch has similar lengths. */
export function bucketed(
  indices: Int32Array,
  { batchSize, lengthOf }: { readonly batchSize: number; readonly lengthOf: (index: number) => number },
): Int32Array {
  const result = indices.slice();
  const bucket = BATCHES_PER_BUCKET * batchSize;
  for (let start = 0; start < result.length; start += bucket) {
    const part = [...result.subarray(start, start + bucket)];
    // Stable: examples of equal length stay in their shuffled order.
    result.set(
      part.sort((a, b) => lengthOf(a) - lengthOf(b)),
      start,
    );
  }
  return result;
}
