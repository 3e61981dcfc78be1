import { type ErrorCode, type ErrorDetails, TopKError } from '@topk-attention/core';

/** The cause of an error when a file could not be had and may as well not exist. */
class Withheld extends Error {}

/**
 * The error for a file that a source cannot give and that may not exist, such as one that a server refuses:
 * `openOptional` and `readOptionalText` treat it as absent.
 *
 * @param details.code default FILE_NOT_FOUND
 */
export function withheld(
  what: string,
  details: Omit<ErrorDetails, 'cause'> & { readonly code?: ErrorCode },
): TopKError {
  const { code = 'FILE_NOT_FOUND', ...rest } = details;
  return new TopKError(code, what, { ...rest, cause: new Withheld(rest.got) });
}

export function isWithheld(error: unknown): boolean {
  return error instanceof TopKError && error.cause instanceof Withheld;
}
