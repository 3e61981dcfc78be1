import type { ByteSource } from './byte-source.js';

/** Reads files by name: a folder, a web server, an archive, a browser's storage. */
export interface FileSource {
  /** For messages. */
  readonly name: string;
  /** The bytes of a file, or undefined if it does not exist. The caller closes it. */
  open(file: string): Promise<ByteSource | undefined>;
}
