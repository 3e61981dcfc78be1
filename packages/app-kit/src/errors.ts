import { TopKError } from '@topk-attention/core';

/** An error as plain data: what `--json` prints and what an engine sends to its host. */
export interface ErrorReport {
  readonly code: string;
  readonly message: string;
  readonly fix?: string;
}

/** The command line itself is wrong: exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'USAGE';
  /** What to type instead. */
  readonly fix: string;

  constructor(message: string, fix: string) {
    super(message);
    this.fix = fix;
  }
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

/** Any thrown value as a report. A TopKError's message ends in its fix; here the two are separate. */
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

/** For people: one line with the error and its code, one with what to do. */
export function describeError(error: unknown): string {
  const { code, message, fix } = reportOf(error);
  if (code === 'ABORTED') return 'Interrupted.';
  return `Error ${code}: ${message}${fix === undefined ? '' : `\nFix: ${fix}`}`;
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === 'AbortError';
}
