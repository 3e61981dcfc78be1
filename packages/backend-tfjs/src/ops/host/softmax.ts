/** Softmax of rows of `width` numbers: a row of all -inf gives zeros, one with NaN or +inf NaN throughout. */
export function hostSoftmax(data: Float32Array, width: number): Float32Array {
  const weights = new Float32Array(data.length);
  for (let start = 0; start < data.length; start += width) {
    const end = start + width;
    let largest = Number.NEGATIVE_INFINITY;
    for (let at = start; at < end; at++) {
      const value = data[at] as number;
      // True for NaN as well.
      if (!(value <= largest)) largest = value;
      if (Number.isNaN(largest)) break;
    }
    if (largest === Number.NEGATIVE_INFINITY) continue;
    let total = 0;
    for (let at = start; at < end; at++) {
      const power = Math.exp((data[at] as number) - largest);
      weights[at] = power;
      total += power;
    }
    for (let at = start; at < end; at++) weights[at] = (weights[at] as number) / total;
  }
  return weights;
}
