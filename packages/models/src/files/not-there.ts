import { TopKError } from '@topk-attention/core';

/** Why a server's answer is taken for "there is no such file", though it does not say so: the cause of a FILE_NOT_FOUND. */
class Withheld extends Error {}

/** The error for a file that may well not be there: an optional one is then done without. */
export function withheld(name: string, got: string, fix: string): TopKError {
  return new TopKError('FILE_NOT_FOUND', `cannot fetch ${name}`, {
    expected: 'the file',
    got,
    fix,
    cause: new Withheld(got),
  });
}

export function isWithheld(error: unknown): boolean {
  return error instanceof TopKError && error.cause instanceof Withheld;
}
