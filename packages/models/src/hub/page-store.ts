import { type ByteSource, bytesSource } from '@topk-attention/nn';
import { notAsListed, storageError } from './errors.js';
import { runningHash } from './hashes.js';
import { type HubFile, hashPrefix, isCommit } from './hub-file.js';
import type { HubSettings } from './settings.js';
import type { Download, HubStore } from './store.js';

/** Files are kept in pieces of this size: a page never holds more of one than it works on. */
const PIECE_BYTES = 16 * 2 ** 20;

const CACHE_NAME = 'topk-attention-hub';

/** What is used of the Cache API; Node's types do not have it. */
interface PageGlobals {
  readonly caches?: {
    open(name: string): Promise<{
      match(key: string): Promise<Response | undefined>;
      put(key: string, response: Response): Promise<void>;
      delete(key: string): Promise<boolean>;
    }>;
  };
}

/** Bytes by name. */
export interface Shelf {
  get(key: string): Promise<Uint8Array | undefined>;
  put(key: string, bytes: Uint8Array): Promise<void>;
  delete(key: string): Promise<void>;
}

/** The Cache API, or memory where a page has none (insecure pages, some private windows). */
export async function openShelf(): Promise<Shelf> {
  // Touching it is an error in some sandboxed frames.
  const cache = await Promise.resolve()
    .then(() => (globalThis as PageGlobals).caches?.open(CACHE_NAME))
    .catch(() => undefined);
  if (cache === undefined) return memoryShelf();
  return {
    async get(key) {
      const response = await cache.match(key);
      return response && new Uint8Array(await response.arrayBuffer());
    },
    put: (key, bytes) => cache.put(key, new Response(new Uint8Array(bytes))),
    async delete(key) {
      await cache.delete(key);
    },
  };
}

export function memoryShelf(): Shelf {
  const kept = new Map<string, Uint8Array>();
  return {
    get: async (key) => kept.get(key),
    async put(key, bytes) {
      kept.set(key, bytes.slice());
    },
    async delete(key) {
      kept.delete(key);
    },
  };
}

/** Files in a shelf: pieces by the hash of the file, names by commit, commits by branch or tag. */
export class PageStore implements HubStore {
  readonly name = 'the storage of this page';
  readonly #shelf: Shelf;
  readonly #repo: string;
  readonly #base: string;
  readonly #pieceBytes: number;

  constructor(shelf: Shelf, { endpoint, repo }: HubSettings, pieceBytes: number = PIECE_BYTES) {
    this.#shelf = shelf;
    this.#repo = repo;
    this.#base = `${endpoint}/${repo}`;
    this.#pieceBytes = pieceBytes;
  }

  async commitOf(revision: string): Promise<string | undefined> {
    const bytes = await this.#shelf.get(this.#key('refs', revision));
    const commit = bytes && new TextDecoder().decode(bytes);
    return commit !== undefined && isCommit(commit) ? commit : undefined;
  }

  async remember(revision: string, commit: string): Promise<void> {
    if (isCommit(revision)) return;
    await this.#shelf.put(this.#key('refs', revision), new TextEncoder().encode(commit)).catch(() => {});
  }

  async open(commit: string, path: string): Promise<ByteSource | undefined> {
    const entry = await this.#shelf.get(this.#key('snapshots', commit, path));
    if (entry === undefined) return undefined;
    const { hash, size }: HubFile = JSON.parse(new TextDecoder().decode(entry));
    return this.#opened({ path, hash, size }, commit);
  }

  async add(commit: string, file: HubFile, download: Download): Promise<ByteSource> {
    const key = this.#key('snapshots', commit, file.path);
    try {
      let { hash, start } = await this.#write(file, true, download);
      // Pieces from an earlier visit may be bad.
      if (hash !== file.hash && start > 0) ({ hash, start } = await this.#write(file, false, download));
      if (hash !== file.hash) {
        await this.#forget(file, 0);
        throw notAsListed(`${this.#repo}: ${file.path}`, `the hash ${file.hash}`, hash);
      }
      await this.#shelf.put(key, new TextEncoder().encode(JSON.stringify(file)));
    } catch (error) {
      throw storageError(this.name, error);
    }
    const opened = await this.#opened(file, commit);
    if (opened === undefined) throw notAsListed(file.path, 'a file in storage', 'nothing');
    return opened;
  }

  /** A source that reads piece by piece; undefined if the browser has thrown away the first one. */
  async #opened(file: HubFile, commit: string): Promise<ByteSource | undefined> {
    const name = `${this.#repo}: ${file.path}`;
    if (file.size === 0) return bytesSource(new Uint8Array(0), name);
    const size = this.#pieceBytes;
    let last: { index: number; bytes: Uint8Array } | undefined;
    const pieceAt = async (index: number): Promise<Uint8Array | undefined> => {
      if (last?.index === index) return last.bytes;
      const bytes = await this.#shelf.get(this.#piece(file, index));
      if (bytes !== undefined) last = { index, bytes };
      return bytes;
    };
    if ((await pieceAt(0)) === undefined) return undefined;
    const drop = () => this.#shelf.delete(this.#key('snapshots', commit, file.path));
    return {
      name,
      size: file.size,
      async read(offset, length) {
        const end = Math.max(offset, Math.min(offset + length, file.size));
        const whole = new Uint8Array(end - offset);
        for (let at = offset; at < end; ) {
          const index = Math.floor(at / size);
          const bytes = (await pieceAt(index))?.subarray(at - index * size, end - index * size);
          // A browser that needs room, or another page that began the file anew, has dropped the piece: the reader sees a file
          // that has become shorter, and the next one downloads what is missing.
          if (bytes === undefined || bytes.length === 0) {
            await drop();
            return whole.slice(0, at - offset);
          }
          whole.set(bytes, at - offset);
          at += bytes.length;
        }
        return whole;
      },
      async close() {
        last = undefined;
      },
    };
  }

  /**
   * Keeps the download behind the whole pieces that are there, from the first on, if it `resumes`; `start` is where they
   * end. Gives the hash of the whole.
   */
  async #write(
    file: HubFile,
    resumes: boolean,
    download: Download,
  ): Promise<{ readonly hash: string; readonly start: number }> {
    const newHash = () => {
      const hash = runningHash(file.hash.length === 64 ? 64 : 40);
      hash.update(new TextEncoder().encode(hashPrefix(file)));
      return hash;
    };
    let hash = newHash();
    let start = 0;
    for (let index = 0; resumes && start < file.size; index++) {
      const bytes = await this.#shelf.get(this.#piece(file, index));
      if (bytes?.length !== Math.min(this.#pieceBytes, file.size - start)) break;
      hash.update(bytes);
      start += bytes.length;
    }
    await this.#forget(file, Math.ceil(start / this.#pieceBytes));
    let end = start;
    let held: Uint8Array[] = [];
    let heldBytes = 0;
    const keep = async (): Promise<void> => {
      if (heldBytes === 0) return;
      const piece = new Uint8Array(heldBytes);
      let at = 0;
      for (const bytes of held) {
        piece.set(bytes, at);
        at += bytes.length;
      }
      await this.#shelf.put(this.#piece(file, Math.floor((end - 1) / this.#pieceBytes)), piece);
      held = [];
      heldBytes = 0;
    };
    for await (const { at, bytes } of download(start)) {
      if (at !== end) {
        hash = newHash();
        held = [];
        heldBytes = 0;
        end = at;
      }
      hash.update(bytes);
      for (let from = 0; from < bytes.length; ) {
        const room = this.#pieceBytes - (end % this.#pieceBytes);
        const part = bytes.subarray(from, from + room);
        held.push(part);
        heldBytes += part.length;
        end += part.length;
        from += part.length;
        if (end % this.#pieceBytes === 0) await keep();
      }
    }
    await keep();
    return { hash: hash.digest(), start };
  }

  /** Deletes the pieces from `first` on. */
  async #forget(file: HubFile, first: number): Promise<void> {
    for (let index = first; index * this.#pieceBytes < file.size; index++) {
      await this.#shelf.delete(this.#piece(file, index));
    }
  }

  #piece({ hash, size }: HubFile, index: number): string {
    // With the size: a listing that lies about one must not meet another's pieces.
    return this.#key('blobs', hash, String(size), String(index));
  }

  #key(...names: readonly string[]): string {
    return [this.#base, ...names.map(encodeURIComponent)].join('/');
  }
}
