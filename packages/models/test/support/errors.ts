import { TopKError } from '@topk-attention/core';

/** The error that a promise rejects with; fails when it is none of the project's. */
export async function errorOf(promise: Promise<unknown>): Promise<TopKError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  if (error instanceof TopKError) return error;
  throw new Error(`expected a TopKError, got ${String(error)}`);
}
