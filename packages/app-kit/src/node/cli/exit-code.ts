import { reportOf } from '../../errors.js';

const FAILED = 1;
const USAGE = 2;
/** 128 + SIGINT, as in shells. */
export const EXIT_INTERRUPTED = 130;

/** The process's exit code after this error. */
export function exitCodeOf(error: unknown): number {
  const { code } = reportOf(error);
  if (code === 'USAGE') return USAGE;
  return code === 'ABORTED' ? EXIT_INTERRUPTED : FAILED;
}
