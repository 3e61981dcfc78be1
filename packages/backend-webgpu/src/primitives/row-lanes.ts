/** Invocations of a workgroup of kernels for rows. */
export const ROW_INVOCATIONS = 256;

/** Invocations that share a row of that many entries, about `each` for each: a power of two, 4 or more. */
export function lanesOf(width: number, each: number): number {
  return Math.min(ROW_INVOCATIONS, Math.max(4, 2 ** Math.ceil(Math.log2(width / each))));
}
