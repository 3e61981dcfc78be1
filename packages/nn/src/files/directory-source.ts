import { TopKError } from '@topk-attention/core';
import type { FileSource } from './file-source.js';
import { openFile } from './node-files.js';

/** Files of a directory (Node, Deno, Bun). */
export function directorySource(path: string): FileSource {
  return {
    name: path,
    async open(file) {
      try {
        return await openFile(`${path}/${file}`);
      } catch (error) {
        if (error instanceof TopKError && isNotThere(error.cause)) return undefined;
        throw error;
      }
    },
  };
}

/** The directory named by a file URL. @throws TopKError INVALID_OPTION when its escapes are invalid. */
export function pathOfFileUrl(where: string, url: URL): string {
  try {
    const path = decodeURIComponent(url.pathname);
    // On Windows file:///C:/models is C:/models.
    return /^\/[a-z]:/i.test(path) ? path.slice(1) : path;
  } catch (cause) {
    throw new TopKError('INVALID_OPTION', `${where}: bad source`, {
      expected: 'a file URL with valid escapes',
      got: url.href,
      cause,
    });
  }
}

function isNotThere(cause: unknown): boolean {
  return (
    typeof cause === 'object' &&
    cause !== null &&
    'code' in cause &&
    (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')
  );
}
