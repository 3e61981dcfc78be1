/** Bytes that are made when they are wanted, such as those of a weight on its way into a file. */
export interface LazyBytes {
  readonly byteLength: number;
  read(): Promise<Uint8Array>;
}
