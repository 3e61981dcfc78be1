import { TopKError } from '@topk-attention/core';
import { type Answer, type Connection, messageOf, TRIES } from './connection.js';
import { downloadFailed, notAsListed } from './errors.js';
import type { HubFile, Part } from './hub-file.js';

/** A try that brought so many bytes was no failure, even if the connection broke then. */
const PROGRESS_BYTES = 65_536;

/**
 * The bytes of a file from `start`, over as many connections as it takes. Where a server does not continue where the
 * last one ended (it sends the whole file, or another version of it) the parts begin again at 0. The caller checks
 * the hash.
 *
 * @throws TopKError DOWNLOAD_FAILED, FILE_TRUNCATED, FILE_CORRUPT for another size than listed, ACCESS_DENIED, ABORTED
 */
export async function* download(
  connection: Connection,
  commit: string,
  file: HubFile,
  start: number,
): AsyncGenerator<Part, void> {
  const { repo } = connection.settings;
  const what = `${repo}: ${file.path}`;
  const name = file.path.split('/').map(encodeURIComponent).join('/');
  let at = start;
  let version: string | null = null;
  let failures = 0;
  while (at < file.size) {
    const answer = await connection.get(
      `${repo}/resolve/${commit}/${name}`,
      what,
      at === 0 ? {} : rangeHeaders(at, version),
    );
    const tag = answer.headers.get('etag');
    let continues: boolean;
    try {
      continues = at > 0 && continuesAt(what, answer, at, file);
    } catch (error) {
      answer.cancel();
      throw error;
    }
    if (at > 0 && !(continues && (version === null || tag === version))) {
      at = 0;
      version = null;
      if (continues || answer.status === 416) {
        // Part of another version: ask for the whole file.
        answer.cancel();
        if (++failures === TRIES) throw downloadFailed(what, 'another version of the file at each try');
        continue;
      }
    }
    version = tag;
    const began = at;
    let cause: unknown;
    try {
      for await (const bytes of answer.body()) {
        if (at + bytes.length > file.size) throw notAsListed(what, `${file.size} bytes`, 'more than that');
        yield { at, bytes };
        at += bytes.length;
      }
    } catch (error) {
      if (error instanceof TopKError) throw error;
      cause = error;
    }
    if (at === file.size) return;
    failures = at - began >= PROGRESS_BYTES ? 1 : failures + 1;
    if (failures >= TRIES) throw endedEarly(what, file.size, at, cause);
    await connection.pause(failures);
  }
}

function rangeHeaders(at: number, version: string | null): { readonly [name: string]: string } {
  // A weak tag does not promise equal bytes.
  return { range: `bytes=${at}-`, ...(version?.startsWith('"') && { 'if-range': version }) };
}

/** Whether the answer holds the bytes from `at`. @throws TopKError FILE_CORRUPT for a file of another size */
function continuesAt(what: string, { status, headers }: Answer, at: number, file: HubFile): boolean {
  if (status !== 206) return false;
  const [, from, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(headers.get('content-range') ?? '') ?? [];
  if (total !== undefined && total !== '*' && Number(total) !== file.size)
    throw notAsListed(what, `${file.size} bytes`, `${total}`);
  // Browsers hide the header from pages of other origins unless the server shows it.
  return from === undefined || Number(from) === at;
}

function endedEarly(what: string, size: number, at: number, cause: unknown): TopKError {
  if (cause !== undefined) return downloadFailed(what, `${at} of ${size} bytes: ${messageOf(cause)}`, cause);
  return new TopKError('FILE_TRUNCATED', `${what}: the download ended early`, {
    expected: `${size} bytes`,
    got: `${at}`,
    fix: 'Load it again: it goes on from there',
  });
}
