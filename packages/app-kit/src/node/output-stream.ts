/** The part of a stream such as `process.stderr` that is used. */
export interface OutputStream {
  /** True for a terminal. */
  readonly isTTY?: boolean;
  /** Width of the terminal in characters. */
  readonly columns?: number;
  write(text: string): unknown;
}
