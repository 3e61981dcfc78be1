import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TopKError } from '@topk-attention/core';
import { onTestFinished } from 'vitest';

/** An empty folder, gone after the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'topk-nn-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** A safetensors file from any header, right or wrong. */
export function fileOf(header: unknown, data: number | Uint8Array = 0): Uint8Array {
  const text = typeof header === 'string' ? header : JSON.stringify(header);
  const encoded = new TextEncoder().encode(text);
  const bytes = typeof data === 'number' ? new Uint8Array(data) : data;
  const file = new Uint8Array(8 + encoded.length + bytes.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(encoded.length), true);
  file.set(encoded, 8);
  file.set(bytes, 8 + encoded.length);
  return file;
}

/** The error that a promise rejects with; fails when it is none of the project's. */
export async function errorOf(promise: Promise<unknown>): Promise<TopKError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason) => reason,
  );
  if (error instanceof TopKError) return error;
  throw new Error(`expected a TopKError, got ${String(error)}`);
}
