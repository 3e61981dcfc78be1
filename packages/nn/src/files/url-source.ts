import { TopKError } from '@topk-attention/core';
import { bytesSource } from './byte-source.js';
import type { FileSource } from './file-source.js';
import { withheld } from './withheld.js';

/**
 * Files below a base URL, each fetched whole. The base's query (a token, a version) is sent with every file and never
 * shown in messages. 404 and 410 mean that the file does not exist. 401, 403 and a web page in the file's place may
 * mean the same: they are an error that readers of optional files ignore.
 */
export function urlSource(base: URL, signal?: AbortSignal): FileSource {
  return {
    name: shown(base),
    async open(file) {
      const url = fileUrl(base, file);
      const name = shown(url);
      let response: Response;
      let body: ArrayBuffer;
      try {
        response = await fetch(url, signal === undefined ? {} : { signal });
        if (!response.ok) {
          // An unread body would keep the connection open.
          await response.body?.cancel();
          return checkStatus(name, response.status);
        }
        body = await response.arrayBuffer();
      } catch (cause) {
        if (cause instanceof TopKError) throw cause;
        if (signal?.aborted === true) throw new TopKError('ABORTED', 'loading was aborted', { cause });
        throw unreachable(name, cause instanceof Error ? cause.message : String(cause), cause);
      }
      checkComplete(name, response, body.byteLength);
      const bytes = new Uint8Array(body);
      if (isPage(file, response.headers.get('content-type') ?? '', bytes)) {
        throw refused(name, 'a web page', 'Check the URL: the server answered with a web page');
      }
      return bytesSource(bytes, name);
    },
  };
}

/** The URL of a file: below the base's path, with its query and without its fragment. */
function fileUrl(base: URL, file: string): URL {
  const url = new URL(base);
  url.hash = '';
  // Encoded: a name from an index must not become another host, path or query.
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/${encodeURIComponent(file)}`;
  return url;
}

function shown({ origin, pathname }: URL): string {
  return `${origin}${pathname}`;
}

/** Throws for an error status; undefined if the file does not exist. */
function checkStatus(name: string, status: number): undefined {
  if (status === 404 || status === 410) return undefined;
  const got = `HTTP ${status}`;
  // Object stores give this answer for a missing file to clients that may not list files.
  if (status === 401 || status === 403)
    throw refused(name, got, 'Check the URL and your permission to read it');
  throw unreachable(name, got);
}

/** A connection that broke must not look like a short file. */
function checkComplete(name: string, response: Response, got: number): void {
  const announced = response.headers.get('content-length');
  // With a content encoding the header counts encoded bytes, and browsers hide the encoding header of other origins.
  const isComparable = response.type !== 'cors' && !response.headers.has('content-encoding');
  if (announced === null || !isComparable || got >= Number(announced)) return;
  throw new TopKError('FILE_TRUNCATED', `${name}: the download ended early`, {
    expected: `${announced} bytes`,
    got: `${got}`,
    fix: 'Load it again',
  });
}

const SPACE = /^[\s\uFEFF]*/;

/** Whether a web page came instead of the file: JSON begins with a bracket, safetensors files do after 8 bytes. */
function isPage(file: string, contentType: string, bytes: Uint8Array): boolean {
  const bracket = '{'.charCodeAt(0);
  if (file.endsWith('.safetensors') && bytes[8] === bracket) return false;
  const start = new TextDecoder().decode(bytes.subarray(0, 256)).replace(SPACE, '');
  if (start.startsWith('<')) return true;
  return /^text\/html\b/i.test(contentType) && !/^[{[]/.test(start);
}

function refused(name: string, got: string, fix: string): TopKError {
  return withheld(`cannot fetch ${name}`, { expected: 'the file', got, fix });
}

function unreachable(name: string, got: string, cause?: unknown): TopKError {
  return new TopKError('FILE_NOT_FOUND', `cannot fetch ${name}`, {
    expected: 'the file',
    got,
    fix: 'Check the URL and the connection',
    cause,
  });
}
