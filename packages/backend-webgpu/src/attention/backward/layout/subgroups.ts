import type { RowLayout } from './rows.js';

/** Whether the subgroup variants take these dimensions: whole vectors, and sums that fit the registers. */
export function takesSubgroups(headDim: number, valueDim: number, { width }: RowLayout): boolean {
  return width === 4 && headDim <= 256 && valueDim <= 256;
}
