import type { Span } from '../runtime/kernel.js';
import type { Scales } from './peaks.js';

/** Rows of a matrix per head. */
interface Rows {
  readonly span: Span;
  readonly stride: number;
}

export interface RowsCall {
  readonly causal: boolean;
  /** Whether a row sees what comes after it instead of before. */
  readonly backwards: boolean;
  readonly groups: number;
  /** Heads of the rows that share sums, rows of each, and the position of row 0. */
  readonly rowHeads: number;
  readonly rowLength: number;
  readonly rowOffset: number;
  /** Rows to compute. */
  readonly firstRow: number;
  readonly endRow: number;
  /** Positions whose pairs are taken in, and their chunks; only if causal. */
  readonly start: number;
  readonly end: number;
  readonly chunk: number;
  /** Heads and rows of B and C, and the position of row 0. */
  readonly otherHeads: number;
  readonly otherLength: number;
  readonly otherOffset: number;
  /** Widths of A and B, and of C and the result. */
  readonly inner: number;
  readonly columns: number;
  /** Elements of P, and steps from one of its rows and columns to the next. */
  readonly sumsSize: number;
  readonly sumsRow: number;
  readonly sumsColumn: number;
  readonly keys: number;
}

export interface RowsBuffers {
  readonly a: Rows;
  /** [chunks, N, ...] */
  readonly p: Span;
  readonly b: Rows;
  readonly c: Rows;
  /** Rows whose last column is 0 are hidden: their result is zeros. */
  readonly flags?: Rows;
  readonly scales?: Scales | undefined;
  readonly result: Rows;
}
