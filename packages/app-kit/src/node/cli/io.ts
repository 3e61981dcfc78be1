import type { OutputStream } from '../output-stream.js';

/** Where a command reads and writes, and how it learns that the user wants it to stop. */
export interface Io {
  readonly stdin: typeof process.stdin;
  readonly stdout: OutputStream;
  readonly stderr: OutputStream;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
}

/** One line on standard output. */
export function print(io: Io, line: string): void {
  io.stdout.write(`${line}\n`);
}

/** One line on standard error: notes and warnings, never results. */
export function note(io: Io, line: string): void {
  io.stderr.write(`${line}\n`);
}
