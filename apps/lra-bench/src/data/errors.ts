import { TopKError } from '@topk-attention/core';

/** Data that are not there. */
export function missing(what: string, expected: string, fix: string, cause?: unknown): TopKError {
  return new TopKError('FILE_NOT_FOUND', what, { expected, got: 'nothing', fix, cause });
}

/** A file that ends too early. */
export function truncated(where: string, expected: string, got: string): TopKError {
  return new TopKError('FILE_TRUNCATED', `${where} ends too early`, {
    expected,
    got,
    fix: 'Copy or generate the file again',
  });
}

/** A file that is not what it should be. */
export function corrupt(where: string, expected: string, got: string, cause?: unknown): TopKError {
  return new TopKError('FILE_CORRUPT', `${where} cannot be used`, {
    expected,
    got,
    fix: 'Mend or replace the file: nothing is skipped',
    cause,
  });
}

/** A file or folder that cannot be written: no permission, no room, a file in the place of a folder. */
export function notWritten(path: string, cause: unknown): TopKError {
  return new TopKError('FILE_NOT_WRITTEN', `${path} cannot be written`, {
    got: cause instanceof Error ? cause.message : String(cause),
    fix: 'Choose a folder that you may write to, on a disk with room',
    cause,
  });
}
