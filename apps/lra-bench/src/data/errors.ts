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
