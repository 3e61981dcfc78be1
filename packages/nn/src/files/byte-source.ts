/** Random access to the bytes of one file, wherever it lives. */
export interface ByteSource {
  /** For messages. */
  readonly name: string;
  readonly size: number;
  /** Bytes offset .. offset + length - 1, fewer only past the end. The array is the caller's to keep. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Frees the file; idempotent. */
  close(): Promise<void>;
}
