import type { RowLayout } from '../layout/rows.js';

/** What the text of the gathering kernels depends on. */
export interface GatherShape {
  readonly headDim: number;
  readonly valueDim: number;
  readonly layout: RowLayout;
}
