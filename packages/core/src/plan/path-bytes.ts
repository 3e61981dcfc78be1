import { aValue, type OptionKind } from '../read-options.js';

/** What a path needs for one chunk. */
export interface PathBytes<Request> {
  /** All transient bytes at the worst moment. */
  scratchBytes(request: Request, chunk: number): number;
  /** The largest single transient buffer. Default: not checked. */
  largestBytes?(request: Request, chunk: number): number;
  /** The chunk it runs best with. Default: by the scratch that the limits aim at. */
  preferredChunk?(request: Request): number | undefined;
}

/** An object that says what a path needs. */
export const aPath: OptionKind<PathBytes<never>> = aValue(
  'an object with scratchBytes',
  (value) => typeof value === 'object' && value !== null && 'scratchBytes' in value,
);
