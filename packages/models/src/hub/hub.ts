import { describeValue, readOptions, TopKError } from '@topk-attention/core';
import type { ByteSource, FileSource } from '@topk-attention/nn';
import { type Backoff, Connection, patient } from './connection.js';
import { DiskStore } from './disk-store.js';
import { download } from './download.js';
import { notCached } from './errors.js';
import { type HubFile, isCommit, type Listing, type Part } from './hub-file.js';
import { fetchListing } from './listing.js';
import { nodeModules } from './node-modules.js';
import { openShelf, PageStore } from './page-store.js';
import { type HubOptions, type HubSettings, hubKinds, hubSettings } from './settings.js';
import type { HubStore } from './store.js';

/**
 * The files of a model on the Hugging Face Hub, as a source for `loadT5` and the other loading functions. Files are
 * downloaded when they are opened, checked against the hashes that the Hub lists, and cached: on disk in Node, in the
 * layout of Python's huggingface_hub, and in the Cache API in browsers. A download that was cut off goes on where it
 * ended, also in another process. Without a connection, what is cached is used.
 *
 * @throws TopKError INVALID_OPTION. Opening files rejects with REPO_NOT_FOUND, REVISION_NOT_FOUND, ACCESS_DENIED (a gated
 * repository, a wrong token), NOT_CACHED, DOWNLOAD_FAILED (no connection, 429 and 5xx after five tries), FILE_TRUNCATED,
 * FILE_CORRUPT (a wrong hash or length), DISK_FULL, CACHE_NOT_WRITABLE or ABORTED.
 *
 * @example
 * const source = hub('google/flan-t5-small', { revision: 'main' });
 */
export function hub(repo: string, options: HubOptions = {}): FileSource {
  const settings = hubSettings('hub', repo, readOptions('hub', options, hubKinds));
  return hubSource(settings, patient, () => storeFor(settings));
}

/** @param openStore called once, when the first file is opened */
export function hubSource(
  settings: HubSettings,
  backoff: Backoff,
  openStore: () => Promise<HubStore>,
): FileSource {
  const { repo, revision, endpoint, offline, onProgress } = settings;
  const name = `${repo} at ${revision}`;
  const connection = new Connection(settings, backoff);
  const store = once(openStore);
  const listing = once(async () => {
    const found = await fetchListing(connection);
    await (await store()).remember(revision, found.commit);
    return found;
  });

  async function* parts(commit: string, file: HubFile, start: number): AsyncGenerator<Part, void> {
    for await (const part of download(connection, commit, file, start)) {
      yield part;
      const done = part.at + part.bytes.length;
      onProgress?.({ stage: 'download', done, total: file.size, file: file.path });
    }
  }

  async function openListed({ commit, files }: Listing, path: string): Promise<ByteSource | undefined> {
    const file = files.get(path);
    if (file === undefined) return undefined;
    const kept = await store();
    const opened = await kept.open(commit, path);
    if (opened?.size === file.size) return opened;
    // A copy that someone has cut.
    await opened?.close();
    return kept.add(commit, file, (start) => parts(commit, file, start));
  }

  async function cachedCommit(): Promise<string | undefined> {
    return isCommit(revision) ? revision : (await store()).commitOf(revision);
  }

  async function openCached(path: string, why: string): Promise<ByteSource> {
    const kept = await store();
    const commit = await cachedCommit();
    const opened = commit === undefined ? undefined : await kept.open(commit, path);
    if (opened !== undefined) return opened;
    throw notCached(`${name}: ${path}`, kept.name, why);
  }

  /** Why the Hub is not asked any more. */
  let unreachable: string | undefined = offline
    ? 'nothing, and no downloads are allowed (localFilesOnly or HF_HUB_OFFLINE)'
    : undefined;

  return {
    name: endpoint === 'https://huggingface.co' ? name : `${name} of ${endpoint}`,
    async open(path) {
      checkPath(path);
      if (unreachable !== undefined) return openCached(path, unreachable);
      if (isCommit(revision)) {
        const opened = await (await store()).open(revision, path);
        if (opened !== undefined) return opened;
      }
      let listed: Listing;
      try {
        listed = await listing();
      } catch (error) {
        const isSilent = error instanceof TopKError && error.code === 'DOWNLOAD_FAILED';
        if (!isSilent || (await cachedCommit()) === undefined) throw error;
        // No connection: what is cached will do, and is all there is.
        unreachable = error.got ?? error.message;
        return openCached(path, unreachable);
      }
      return openListed(listed, path);
    },
  };
}

async function storeFor(settings: HubSettings): Promise<HubStore> {
  const node = await nodeModules();
  return node === undefined ? new PageStore(await openShelf(), settings) : new DiskStore(node, settings);
}

/** Calls `make` once; again only after it has failed. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}

/** Names become paths in the cache. */
function checkPath(path: string): void {
  const isFine =
    typeof path === 'string' &&
    path.split('/').every((part) => part !== '' && part !== '.' && part !== '..' && !/[\\:\0]/.test(part));
  if (isFine) return;
  throw new TopKError('INVALID_OPTION', 'hub: bad name of a file', {
    expected: 'a path within the repository',
    got: describeValue(path),
  });
}
