/** Random access to the bytes of one file, wherever it is stored. */
export interface ByteSource {
  /** For messages. */
  readonly name: string;
  readonly size: number;
  /** Bytes offset .. offset + length - 1; fewer only at the end of the file. The array belongs to the caller. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Frees the file; idempotent. */
  close(): Promise<void>;
}

/** Bytes in memory as a source. Not copied: do not change them while the source is in use. */
export function bytesSource(data: ArrayBuffer | Uint8Array, name = 'bytes'): ByteSource {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  return {
    name,
    size: bytes.byteLength,
    read: async (offset, length) => bytes.slice(offset, offset + length),
    close: async () => {},
  };
}
