/** What a path needs for one chunk. */
export interface PathBytes<Request> {
  /** All transient bytes at the worst moment. */
  scratchBytes(request: Request, chunk: number): number;
  /** The largest single transient buffer. Default: not checked. */
  largestBytes?(request: Request, chunk: number): number;
  /** The chunk it runs best with. Default: by the scratch that the limits aim at. */
  preferredChunk?(request: Request): number | undefined;
}
