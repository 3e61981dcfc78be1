/** `topK` of rows of `width` numbers, on the host. */
export function hostTopK(
  data: Float32Array | Int32Array | Uint8Array,
  width: number,
  k: number,
): { readonly values: Float32Array; readonly indices: Int32Array } {
  const rows = data.length / width;
  const values = new Float32Array(rows * k).fill(Number.NEGATIVE_INFINITY);
  const indices = new Int32Array(rows * k).fill(-1);
  const heap = new Float32Array(k);
  for (let row = 0; row < rows; row++) {
    const start = row * width;
    const end = start + width;
    const threshold = kthLargest(data, start, end, heap);
    // The number of entries equal to the threshold that are kept: the first ones.
    let ties = 0;
    for (let slot = 0; slot < k; slot++) if (heap[slot] === threshold) ties++;
    if (threshold === Number.NEGATIVE_INFINITY) ties = 0;
    let slot = row * k;
    for (let at = start; at < end; at++) {
      const value = data[at] as number;
      if (value < threshold) continue;
      if (value === threshold && ties-- <= 0) continue;
      values[slot] = value;
      indices[slot] = at - start;
      slot++;
    }
  }
  return { values, indices };
}

/** The k-th largest entry, by a heap of the k largest so far whose root is the smallest of them. */
function kthLargest(
  data: Float32Array | Int32Array | Uint8Array,
  start: number,
  end: number,
  heap: Float32Array,
): number {
  const k = heap.length;
  heap.fill(Number.NEGATIVE_INFINITY);
  let root = Number.NEGATIVE_INFINITY;
  for (let at = start; at < end; at++) {
    const value = data[at] as number;
    if (value <= root) continue;
    let slot = 0;
    for (;;) {
      const left = 2 * slot + 1;
      if (left >= k) break;
      const right = left + 1;
      const child = right < k && (heap[right] as number) < (heap[left] as number) ? right : left;
      if ((heap[child] as number) >= value) break;
      heap[slot] = heap[child] as number;
      slot = child;
    }
    heap[slot] = value;
    root = heap[0] as number;
  }
  return root;
}
