/**
 * A case that a backend is known to fail. It is still run and has to fail: once the engine is mended, the exclusion
 * itself makes the suite fail, and goes.
 */
export interface Exclusion {
  /** Name of the case, in full. */
  readonly name: string;
  /** What the engine does instead, and since when it is known. */
  readonly reason: string;
}
