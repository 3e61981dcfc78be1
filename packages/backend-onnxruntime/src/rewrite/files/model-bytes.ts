import { describeValue, TopKError } from '@topk-attention/core';

/** A model's file in memory, as `fetch` and `readFile` give it. */
export type ModelBytes = Uint8Array | ArrayBuffer;

/** @throws TopKError INVALID_OPTION for anything else, such as a path. */
export function bytesOf(where: string, given: unknown): Uint8Array {
  if (given instanceof ArrayBuffer) return new Uint8Array(given);
  if (ArrayBuffer.isView(given)) return new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
  const isPath = typeof given === 'string' || given instanceof URL;
  throw new TopKError('INVALID_OPTION', `${where}: no bytes of a model`, {
    expected: 'a Uint8Array or an ArrayBuffer',
    got: describeValue(given),
    fix: isPath ? 'Read the file first, or call rewriteFile' : 'Pass what readFile or fetch gives',
  });
}
