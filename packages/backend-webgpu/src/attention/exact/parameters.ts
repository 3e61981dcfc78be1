import type { ExactTile } from './tile.js';

/** What the text of the exact kernel depends on. */
export interface ExactParameters {
  readonly tile: ExactTile;
  readonly headDim: number;
  readonly valueDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly mask: boolean;
  readonly keyLengths: boolean;
  readonly bias: boolean;
  readonly relativeBias: boolean;
  readonly dropout: boolean;
  /** Whether weights are sigmoids of the scores, which need no maximum and no total. */
  readonly sigmoid: boolean;
  /** Whether each workgroup takes a segment of the keys, and another kernel joins them; see `join-segments`. */
  readonly segmented: boolean;
}
