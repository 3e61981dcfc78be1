import type { Backend } from '@topk-attention/core';
import { expect } from 'vitest';

/** Runs a body; fails when it leaves bytes behind. */
export async function keepsNothing<R>(backend: Backend, body: () => Promise<R>): Promise<R> {
  const { live } = backend.memory();
  const result = await body();
  expect(backend.memory().live).toBe(live);
  return result;
}
