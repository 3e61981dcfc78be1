import { TopKError } from '@topk-attention/core';

/** The cause of a FILE_NOT_FOUND when a server's answer may mean that the file does not exist. */
class Withheld extends Error {}

/** The error for a file that may not exist: `openOptional` treats it as absent. */
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
