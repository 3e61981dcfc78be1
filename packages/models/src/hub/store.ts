import type { ByteSource } from '@topk-attention/nn';
import type { HubFile, Part } from './hub-file.js';

/** Gives the bytes of a file from an offset; the parts may begin again at 0. */
export type Download = (start: number) => AsyncIterable<Part>;

/** Where the files of one repository are kept. */
export interface HubStore {
  /** For messages. */
  readonly name: string;
  /** The commit that a branch or tag was when it was last loaded. */
  commitOf(revision: string): Promise<string | undefined>;
  /** Keeps that commit. Never fails: it only matters without a connection. */
  remember(revision: string, commit: string): Promise<void>;
  /** A file that is there, whole and checked. */
  open(commit: string, path: string): Promise<ByteSource | undefined>;
  /**
   * Downloads what is missing of a file, checks its hash and opens it. An interrupted download is kept, and the next
   * one goes on from it.
   *
   * @throws TopKError FILE_CORRUPT, DISK_FULL, CACHE_NOT_WRITABLE, ABORTED, and what the download throws
   */
  add(commit: string, file: HubFile, download: Download): Promise<ByteSource>;
}
