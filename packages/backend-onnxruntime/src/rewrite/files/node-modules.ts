import { TopKError } from '@topk-attention/core';

/**
 * The parts of Node that files need, imported through variables so that bundlers for the browser ignore them.
 *
 * @param where The function that was called, and what to do where there are no files.
 */
export async function nodeModules(
  where = 'rewriteFile',
  fix = 'Call rewriteModel with the bytes of the file',
): Promise<{
  readonly fs: typeof import('node:fs/promises');
  readonly path: typeof import('node:path');
  readonly url: typeof import('node:url');
}> {
  const [files, paths, urls] = ['node:fs/promises', 'node:path', 'node:url'];
  try {
    return {
      fs: await import(/* @vite-ignore */ /* webpackIgnore: true */ files),
      path: await import(/* @vite-ignore */ /* webpackIgnore: true */ paths),
      url: await import(/* @vite-ignore */ /* webpackIgnore: true */ urls),
    };
  } catch (cause) {
    throw new TopKError('UNSUPPORTED', `${where}: there is no file system in this JavaScript runtime`, {
      expected: 'node:fs/promises',
      fix,
      cause,
    });
  }
}
