import { describeValue, TopKError } from '@topk-attention/core';
import type { ByteSource } from '@topk-attention/nn';
import { directorySource, pathOfFileUrl } from './directory-source.js';
import { isWithheld } from './not-there.js';
import { urlSource } from './url-source.js';

/** Reads files by name: a folder, a web server, an archive, a browser's storage. */
export interface FileSource {
  /** For messages. */
  readonly name: string;
  /** The bytes of a file, or undefined when there is no such file. The reader closes it. */
  open(file: string): Promise<ByteSource | undefined>;
}

/** The source that a caller means: a base URL, a directory, or their own. @throws TopKError INVALID_OPTION */
export function toFileSource(source: string | URL | FileSource, signal?: AbortSignal): FileSource {
  if (typeof source === 'string') {
    // Two letters at least: C:// is a drive.
    if (source !== '' && !/^[a-z][a-z0-9+.-]+:\/\//i.test(source)) return directorySource(source);
    if (!URL.canParse(source)) throw badSource(source);
    return sourceOfUrl(new URL(source), signal);
  }
  if (source instanceof URL) return sourceOfUrl(source, signal);
  if (typeof source?.open === 'function') return source;
  throw badSource(source);
}

function sourceOfUrl(url: URL, signal?: AbortSignal): FileSource {
  if (/^https?:$/.test(url.protocol)) {
    if (url.username === '' && url.password === '') return urlSource(url, signal);
    throw new TopKError('INVALID_OPTION', 'loadT5: bad source', {
      expected: 'a URL without a user name and password, which fetch does not take',
      fix: 'Pass a FileSource whose requests carry them',
    });
  }
  if (url.protocol === 'file:') return directorySource(pathOfFileUrl(url));
  throw badSource(url.href);
}

function badSource(got: unknown): TopKError {
  return new TopKError('INVALID_OPTION', 'loadT5: bad source', {
    expected: 'a directory path, an http(s) or file URL, or a FileSource',
    got: describeValue(got),
  });
}

/** The bytes of a file, or undefined when it is not there, or kept back in a way that is taken for that. */
export async function openOptional(source: FileSource, file: string): Promise<ByteSource | undefined> {
  try {
    return (await source.open(file)) ?? undefined;
  } catch (error) {
    if (isWithheld(error)) return undefined;
    throw error;
  }
}

/** A text file that must be there. @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT when it is not UTF-8. */
export async function readText(source: FileSource, file: string, fix: string): Promise<string> {
  return textOf(source, file, await openNeeded(source, file, fix));
}

/** A text file, or undefined when it is not there. */
export async function readOptionalText(source: FileSource, file: string): Promise<string | undefined> {
  const opened = await openOptional(source, file);
  return opened === undefined ? undefined : textOf(source, file, opened);
}

/** The bytes of a file that must be there. @throws TopKError FILE_NOT_FOUND */
export async function openNeeded(source: FileSource, file: string, fix: string): Promise<ByteSource> {
  const opened = await source.open(file);
  if (opened) return opened;
  throw new TopKError('FILE_NOT_FOUND', `${source.name}: no ${file}`, {
    expected: file,
    got: 'nothing',
    fix,
  });
}

/** Reads and closes it. */
async function textOf(source: FileSource, file: string, opened: ByteSource): Promise<string> {
  try {
    const bytes = await opened.read(0, opened.size);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    if (cause instanceof TopKError) throw cause;
    throw new TopKError('FILE_CORRUPT', `${source.name}: ${file} is not text`, {
      expected: 'UTF-8',
      fix: 'Download the file again',
      cause,
    });
  } finally {
    await opened.close();
  }
}
