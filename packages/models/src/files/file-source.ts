import { TopKError } from '@topk-attention/core';
import { type ByteSource, bytesSource, openFile } from '@topk-attention/nn';

/** Reads files by name: a folder, a web server, an archive, a browser's storage. */
export interface FileSource {
  /** For messages. */
  readonly name: string;
  /** The bytes of a file, or undefined when there is no such file. The reader closes it. */
  open(file: string): Promise<ByteSource | undefined>;
}

/** The source that a caller means: a base URL, a directory, or their own. */
export function toFileSource(source: string | URL | FileSource, signal?: AbortSignal): FileSource {
  if (source instanceof URL || (typeof source === 'string' && /^https?:\/\//i.test(source))) {
    const url = source.toString();
    if (/^https?:/i.test(url)) return urlSource(url, signal);
    if (url.startsWith('file:')) return directorySource(decodeURIComponent(new URL(url).pathname));
    throw new TopKError('INVALID_OPTION', 'loadT5: bad source', {
      expected: 'a directory path, an http(s) or file URL, or a FileSource',
      got: url,
    });
  }
  return typeof source === 'string' ? directorySource(source) : source;
}

/** Files of a directory (Node, Deno, Bun). */
function directorySource(path: string): FileSource {
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

function isNotThere(cause: unknown): boolean {
  return (
    typeof cause === 'object' &&
    cause !== null &&
    'code' in cause &&
    (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')
  );
}

/** Files below a base URL, each fetched whole. */
function urlSource(base: string, signal?: AbortSignal): FileSource {
  const folder = base.endsWith('/') ? base : `${base}/`;
  return {
    name: base,
    async open(file) {
      const url = new URL(file, folder).toString();
      let response: Response;
      let body: ArrayBuffer;
      try {
        response = await fetch(url, signal === undefined ? {} : { signal });
        if (response.status === 404) return undefined;
        body = await response.arrayBuffer();
      } catch (cause) {
        if (signal?.aborted === true) throw new TopKError('ABORTED', 'loading was aborted', { cause });
        throw unreachable(url, cause instanceof Error ? cause.message : String(cause), cause);
      }
      if (!response.ok) throw unreachable(url, `HTTP ${response.status}`);
      checkComplete(url, response, body.byteLength);
      return bytesSource(body, url);
    },
  };
}

/** A connection that broke must not look like a short file. With a content encoding the header counts other bytes. */
function checkComplete(url: string, response: Response, got: number): void {
  const announced = response.headers.get('content-length');
  if (announced === null || response.headers.has('content-encoding') || Number(announced) === got) return;
  throw new TopKError('FILE_TRUNCATED', `${url}: the download ended early`, {
    expected: `${announced} bytes`,
    got: `${got}`,
    fix: 'Load again',
  });
}

function unreachable(url: string, got: string, cause?: unknown): TopKError {
  return new TopKError('FILE_NOT_FOUND', `cannot fetch ${url}`, {
    expected: 'the file',
    got,
    fix: 'Check the URL and the connection',
    cause,
  });
}

/** A text file that must be there. @throws TopKError FILE_NOT_FOUND, FILE_CORRUPT when it is not UTF-8. */
export async function readText(source: FileSource, file: string, fix: string): Promise<string> {
  const text = await readOptionalText(source, file);
  if (text !== undefined) return text;
  throw new TopKError('FILE_NOT_FOUND', `${source.name}: no ${file}`, {
    expected: file,
    got: 'nothing',
    fix,
  });
}

/** A text file, or undefined when it is not there. */
export async function readOptionalText(source: FileSource, file: string): Promise<string | undefined> {
  const opened = await source.open(file);
  if (opened === undefined) return undefined;
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
