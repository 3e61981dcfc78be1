/**
 * The k-th largest number, minus infinity if there are fewer than k. Of a vocabulary hardly any is sorted: a heap keeps
 * the k largest so far, the least of them first.
 */
export function kthLargest(scores: Float64Array, k: number): number {
  const heap = new Float64Array(k).fill(Number.NEGATIVE_INFINITY);
  const at = (place: number): number => heap[place] as number;
  for (const score of scores) {
    if (score <= at(0)) continue;
    let place = 0;
    for (let child = 1; child < k; child = 2 * place + 1) {
      if (child + 1 < k && at(child + 1) < at(child)) child++;
      if (at(child) >= score) break;
      heap[place] = at(child);
      place = child;
    }
    heap[place] = score;
  }
  return at(0);
}
