import { describeValue, TopKError } from '@topk-attention/core';
import { directorySource, pathOfFileUrl } from './directory-source.js';
import type { FileSource } from './file-source.js';
import { urlSource } from './url-source.js';

/**
 * The files that a caller means: below a base URL (http, https, file), in a directory, or from the caller's own source.
 *
 * @param where the public function that takes the option; its name begins the messages
 * @param signal ends downloads
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const source = toFileSource('loadT5', './model');
 */
export function toFileSource(
  where: string,
  source: string | URL | FileSource,
  signal?: AbortSignal,
): FileSource {
  if (typeof source === 'string') {
    // A scheme has at least two letters: C:// is a drive.
    if (source !== '' && !/^[a-z][a-z0-9+.-]+:\/\//i.test(source)) return directorySource(source);
    if (!URL.canParse(source)) throw badSource(where, source);
    return sourceOfUrl(where, new URL(source), signal);
  }
  if (source instanceof URL) return sourceOfUrl(where, source, signal);
  if (typeof source?.open === 'function') return source;
  throw badSource(where, source);
}

function sourceOfUrl(where: string, url: URL, signal?: AbortSignal): FileSource {
  if (/^https?:$/.test(url.protocol)) {
    if (url.username === '' && url.password === '') return urlSource(url, signal);
    throw new TopKError('INVALID_OPTION', `${where}: bad source`, {
      expected: 'a URL without a user name and password, which fetch does not accept',
      fix: 'Pass a FileSource whose requests carry them',
    });
  }
  if (url.protocol === 'file:') return directorySource(pathOfFileUrl(where, url));
  throw badSource(where, url.href);
}

function badSource(where: string, got: unknown): TopKError {
  return new TopKError('INVALID_OPTION', `${where}: bad source`, {
    expected: 'a directory path, an http(s) or file URL, or a FileSource',
    got: describeValue(got),
  });
}
