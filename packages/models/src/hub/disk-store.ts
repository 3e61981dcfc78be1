import { type ByteSource, toFileSource } from '@topk-attention/nn';
import { withLock } from './disk-lock.js';
import { notAsListed, storageError } from './errors.js';
import { type HubFile, hashPrefix, isCommit } from './hub-file.js';
import type { NodeModules } from './node-modules.js';
import { environment, type HubSettings } from './settings.js';
import type { Download, HubStore } from './store.js';

type FileHandle = Awaited<ReturnType<NodeModules['fs']['open']>>;

/**
 * The cache of Python's huggingface_hub: contents in `blobs` by their hashes, names in `snapshots` by commit, as links
 * to them, and in `refs` the commit of each branch or tag.
 */
export class DiskStore implements HubStore {
  readonly name: string;
  readonly #node: NodeModules;
  readonly #settings: HubSettings;
  readonly #folder: string;
  readonly #locks: string;

  constructor(node: NodeModules, settings: HubSettings) {
    const { join } = node.path;
    const cache = settings.cacheDir ?? defaultCacheDir(node);
    const folder = `models--${settings.repo.split('/').join('--')}`;
    this.#node = node;
    this.#settings = settings;
    this.#folder = join(cache, folder);
    this.#locks = join(cache, '.locks', folder);
    this.name = this.#folder;
  }

  async commitOf(revision: string): Promise<string | undefined> {
    try {
      const text = await this.#node.fs.readFile(this.#path('refs', revision), 'utf8');
      return isCommit(text.trim()) ? text.trim() : undefined;
    } catch {
      return undefined;
    }
  }

  async remember(revision: string, commit: string): Promise<void> {
    const { fs, path } = this.#node;
    if (isCommit(revision) || (await this.commitOf(revision)) === commit) return;
    const file = this.#path('refs', revision);
    const aside = `${file}.${process.pid}-${Math.random().toString(36).slice(2)}`;
    try {
      await fs.mkdir(path.dirname(file), { recursive: true });
      await fs.writeFile(aside, commit);
      await fs.rename(aside, file);
    } catch {
      await fs.rm(aside, { force: true }).catch(() => {});
    }
  }

  open(commit: string, path: string): Promise<ByteSource | undefined> {
    return toFileSource('hub', this.#path('snapshots', commit)).open(path);
  }

  async add(commit: string, file: HubFile, download: Download): Promise<ByteSource> {
    const { fs, path } = this.#node;
    const blob = this.#path('blobs', file.hash);
    try {
      // Again where another process took the lock from one that was suspended: it may have the file by now.
      while (!(await this.#isWhole(blob, file))) {
        await fs.mkdir(this.#path('blobs'), { recursive: true });
        await fs.mkdir(this.#locks, { recursive: true });
        const lock = path.join(this.#locks, `${file.hash}.js.lock`);
        await withLock(this.#node, lock, this.#settings.signal, async (isHeld) => {
          if (!(await this.#isWhole(blob, file))) await this.#fill(blob, file, download, isHeld);
        });
      }
      await this.#link(blob, this.#path('snapshots', commit, ...file.path.split('/')));
    } catch (error) {
      throw storageError(this.#folder, error);
    }
    const opened = await this.open(commit, file.path);
    if (opened === undefined) throw notAsListed(file.path, 'a file in the cache', 'nothing');
    return opened;
  }

  /** Downloads the blob beside its place and moves it there when its hash is right, if no one else is about to. */
  async #fill(
    blob: string,
    file: HubFile,
    download: Download,
    isHeld: () => Promise<boolean>,
  ): Promise<void> {
    const { fs } = this.#node;
    const partial = `${blob}.js.incomplete`;
    const handle = await fs.open(partial, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o666);
    let hash: string;
    try {
      const { size } = await handle.stat();
      const start = size <= file.size ? size : 0;
      hash = await this.#write(handle, file, start, download);
      // The part from an earlier run may be bad.
      if (hash !== file.hash && start > 0) hash = await this.#write(handle, file, 0, download);
      // Without this, a crash may leave an empty file under the new name.
      if (hash === file.hash) await handle.sync();
    } finally {
      await handle.close();
    }
    if (!(await isHeld())) return;
    if (hash !== file.hash) {
      await fs.rm(partial, { force: true });
      throw notAsListed(`${this.#settings.repo}: ${file.path}`, `the hash ${file.hash}`, hash);
    }
    await fs.rename(partial, blob);
  }

  /** Writes the download behind the first `start` bytes. Gives the hash of the whole. */
  async #write(handle: FileHandle, file: HubFile, start: number, download: Download): Promise<string> {
    let hash = this.#hashOf(file);
    if ((await handle.stat()).size > start) await handle.truncate(start);
    const block = new Uint8Array(Math.min(start, 2 ** 20));
    for (let at = 0; at < start; ) {
      const { bytesRead } = await handle.read(block, 0, Math.min(block.length, start - at), at);
      if (bytesRead === 0) throw new Error(`${file.hash}: the file got shorter`);
      hash.update(block.subarray(0, bytesRead));
      at += bytesRead;
    }
    let end = start;
    for await (const { at, bytes } of download(start)) {
      if (at !== end) {
        await handle.truncate(at);
        hash = this.#hashOf(file);
      }
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, at + done);
        done += bytesWritten;
      }
      hash.update(bytes);
      end = at + bytes.length;
    }
    return hash.digest('hex');
  }

  #hashOf(file: HubFile): ReturnType<NodeModules['crypto']['createHash']> {
    const algorithm = file.hash.length === 64 ? 'sha256' : 'sha1';
    return this.#node.crypto.createHash(algorithm).update(hashPrefix(file));
  }

  /** Gives the blob its name in a snapshot: a link, or a copy where links are not allowed (Windows). */
  async #link(blob: string, pointer: string): Promise<void> {
    const { fs, path } = this.#node;
    await fs.mkdir(path.dirname(pointer), { recursive: true });
    const aside = `${pointer}.${process.pid}-${Math.random().toString(36).slice(2)}`;
    try {
      await fs
        .symlink(path.relative(path.dirname(pointer), blob), aside)
        .catch(() => fs.copyFile(blob, aside));
      await fs.rename(aside, pointer);
    } catch (error) {
      await fs.rm(aside, { force: true }).catch(() => {});
      throw error;
    }
  }

  async #isWhole(blob: string, { size }: HubFile): Promise<boolean> {
    try {
      return (await this.#node.fs.stat(blob)).size === size;
    } catch {
      return false;
    }
  }

  #path(...names: readonly string[]): string {
    return this.#node.path.join(this.#folder, ...names);
  }
}

function defaultCacheDir({ os, path }: NodeModules): string {
  const { HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = environment();
  const given = HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE;
  const home = HF_HOME || path.join(XDG_CACHE_HOME || path.join(os.homedir(), '.cache'), 'huggingface');
  return (given || path.join(home, 'hub')).replace(/^~(?=$|[\\/])/, os.homedir());
}
