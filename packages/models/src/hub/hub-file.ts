/** A file as the Hub lists it. */
export interface HubFile {
  /** Within the repository, with slashes. */
  readonly path: string;
  readonly size: number;
  /** The hash that names the content, in hex: SHA-256 of large files, git's SHA-1 of the others. */
  readonly hash: string;
}

/** The files of one commit. */
export interface Listing {
  /** 40 hex digits. */
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

/** Bytes of a download and where they belong. `at` goes back to 0 where the download starts over. */
export interface Part {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Whether a revision is a commit, whose files never change. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** What git hashes before the content of a file that is not large; empty for SHA-256. */
export function hashPrefix({ hash, size }: HubFile): string {
  return hash.length === 40 ? `blob ${size}\0` : '';
}
