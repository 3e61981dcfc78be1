/**
 * A case that a backend is known to fail. It still runs and must fail: once the engine is fixed, the exclusion itself
 * makes the suite fail, and is removed.
 */
export interface Exclusion {
  /** Name of the case, in full. */
  readonly name: string;
  /** What the engine does instead, and since when it is known. */
  readonly reason: string;
}
