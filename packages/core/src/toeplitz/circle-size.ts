/** The smallest power of 2 that holds all 2 n - 1 distances of n tokens: the length of the transforms. */
export function circleSize(length: number): number {
  return 2 ** Math.ceil(Math.log2(2 * length - 1));
}
