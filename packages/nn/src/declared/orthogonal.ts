import { normalNumbers } from './random.js';

/**
 * Orthonormal rows, `rows` <= `width`, uniformly distributed: the Q of a Gaussian matrix whose R has a positive
 * diagonal, which is what Gram-Schmidt gives. With LAPACK's signs the rows would have a nonzero mean.
 */
export function orthonormalRows(rows: number, width: number, seed: number, stream = 0): Float64Array {
  const matrix = normalNumbers(seed, rows * width, stream);
  for (let row = 0; row < rows; row++) {
    const own = matrix.subarray(row * width, (row + 1) * width);
    // Twice: after the first round, rounding errors leave parts of earlier rows.
    for (let round = 0; round < 2; round++) {
      for (let before = 0; before < row; before++) {
        const other = matrix.subarray(before * width, (before + 1) * width);
        const part = dot(own, other);
        for (let at = 0; at < width; at++) own[at] = (own[at] as number) - part * (other[at] as number);
      }
    }
    const length = Math.sqrt(dot(own, own));
    for (let at = 0; at < width; at++) own[at] = (own[at] as number) / length;
  }
  return matrix;
}

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let at = 0; at < a.length; at++) total += (a[at] as number) * (b[at] as number);
  return total;
}
