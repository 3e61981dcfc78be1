import { TopKError } from '@topk-attention/core';
import { nodeModules } from './node-modules.js';

/** A whole file. @throws TopKError FILE_NOT_FOUND, UNSUPPORTED in a browser. */
export async function readFile(file: string): Promise<Uint8Array> {
  const { fs } = await nodeModules();
  try {
    return await fs.readFile(file);
  } catch (cause) {
    throw new TopKError('FILE_NOT_FOUND', `cannot open ${file}`, {
      expected: 'a readable file of at most 2 GiB',
      got: cause instanceof Error ? cause.message : String(cause),
      fix: 'Check the path',
      cause,
    });
  }
}
