import type { Io } from '../../src/node/cli/io.js';

/** An `Io`, and what was written to it. */
export interface Captured {
  readonly io: Io;
  readonly written: { stdout: string; stderr: string };
}

/** An `Io` that gathers what is written. */
export function capture(signal: AbortSignal = new AbortController().signal): Captured {
  const written = { stdout: '', stderr: '' };
  const stdout = { write: (text: string) => (written.stdout += text) };
  const stderr = { write: (text: string) => (written.stderr += text) };
  return { io: { stdin: process.stdin, stdout, stderr, signal }, written };
}
