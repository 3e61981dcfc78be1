import { TopKError } from '@topk-attention/core';
import { type Connection, messageOf, TRIES, wholeBody } from './connection.js';
import { downloadFailed } from './errors.js';
import { type HubFile, isCommit, type Listing } from './hub-file.js';

/** Repositories of ten thousand files have listings of a few megabytes. */
const LIMIT_BYTES = 64 * 2 ** 20;

/**
 * The commit of the revision and its files, in one request: all files of a load are then of one commit, and sizes and
 * hashes are known before the first download.
 *
 * @throws TopKError DOWNLOAD_FAILED, FILE_CORRUPT, REPO_NOT_FOUND, REVISION_NOT_FOUND, ACCESS_DENIED, ABORTED
 */
export async function fetchListing(connection: Connection): Promise<Listing> {
  const { repo, revision } = connection.settings;
  const what = `the list of files of ${repo}`;
  for (let failures = 1; ; failures++) {
    const answer = await connection.get(
      `api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`,
      what,
    );
    try {
      return parseListing(what, new TextDecoder().decode(await wholeBody(answer, what, LIMIT_BYTES)));
    } catch (cause) {
      // A list that is cut off is no JSON, or the connection says so.
      const isCut = !(cause instanceof TopKError) || cause.cause instanceof SyntaxError;
      if (!isCut) throw cause;
      if (failures === TRIES) throw downloadFailed(what, messageOf(cause), cause);
      await connection.pause(failures);
    }
  }
}

/** Checks what the Hub says: the names and hashes in it become paths. @throws TopKError FILE_CORRUPT */
function parseListing(what: string, text: string): Listing {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw bad(what, 'JSON', text.slice(0, 80), cause);
  }
  if (!isObject(value)) throw bad(what, 'an object', text.slice(0, 80));
  const { sha, siblings } = value;
  if (typeof sha !== 'string' || !isCommit(sha)) throw bad(what, 'a commit', shown(sha));
  if (!Array.isArray(siblings)) throw bad(what, 'a list of files', shown(siblings));
  const files = siblings.map((one) => fileOf(what, one));
  return { commit: sha, files: new Map(files.map((file) => [file.path, file])) };
}

function fileOf(what: string, entry: unknown): HubFile {
  const { rfilename: path, size, blobId, lfs } = isObject(entry) ? entry : {};
  if (typeof path !== 'string') throw bad(what, 'the name of a file', shown(entry));
  const { sha256 = undefined, size: largeSize = undefined } = isObject(lfs) ? lfs : {};
  const hash = sha256 ?? blobId;
  const bytes = largeSize ?? size;
  const isFine =
    typeof hash === 'string' &&
    (sha256 === undefined ? /^[0-9a-f]{40}$/ : /^[0-9a-f]{64}$/).test(hash) &&
    Number.isSafeInteger(bytes) &&
    (bytes as number) >= 0;
  if (!isFine) throw bad(what, `size and hash of ${path}`, shown(entry));
  return { path, size: bytes as number, hash };
}

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  return JSON.stringify(value)?.slice(0, 80) ?? 'nothing';
}

function bad(what: string, expected: string, got: string, cause?: unknown): TopKError {
  return new TopKError('FILE_CORRUPT', `${what} is not as the Hub writes it`, {
    expected,
    got,
    fix: 'Check the endpoint: a mirror answers api/models/NAME/revision/REVISION?blobs=true as the Hub does',
    cause,
  });
}
