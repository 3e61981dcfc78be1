import { TopKError } from '@topk-attention/core';
import { UsageError } from '../args/usage-error.js';

const EXIT_FAILED = 1;
const EXIT_USAGE = 2;
/** 128 + SIGINT, as shells have it. */
export const EXIT_INTERRUPTED = 130;

/** An error as plain data: what `--json` prints and what a child process sends to its parent. */
export interface ErrorReport {
  readonly code: string;
  readonly message: string;
  readonly fix?: string;
}

/** Any thrown value as a report. Messages of a TopKError end in their fix; here the two are apart. */
export function reportOf(error: unknown): ErrorReport {
  if (error instanceof ReportedError) return error.report;
  if (error instanceof UsageError) return { code: error.code, message: error.message, fix: error.fix };
  if (error instanceof TopKError) {
    const { code, fix, message } = error;
    if (fix === undefined) return { code, message };
    return { code, message: message.endsWith(fix) ? message.slice(0, -fix.length).trimEnd() : message, fix };
  }
  if (isAbort(error)) return { code: 'ABORTED', message: 'interrupted' };
  return { code: 'UNEXPECTED', message: error instanceof Error ? error.message : String(error) };
}

/** An error that another process reported. */
export class ReportedError extends Error {
  override readonly name = 'ReportedError';
  readonly report: ErrorReport;

  constructor(report: ErrorReport) {
    super(report.message);
    this.report = report;
  }
}

/** The process's exit code after this error. */
export function exitCodeOf(error: unknown): number {
  const { code } = reportOf(error);
  if (code === 'USAGE') return EXIT_USAGE;
  return code === 'ABORTED' ? EXIT_INTERRUPTED : EXIT_FAILED;
}

/** For people: one line that says what and which code, one that says what to do. */
export function describeError(error: unknown): string {
  const { code, message, fix } = reportOf(error);
  if (code === 'ABORTED') return 'Interrupted.';
  return `Error ${code}: ${message}${fix === undefined ? '' : `\nFix: ${fix}`}`;
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
