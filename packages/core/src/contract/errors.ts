/**
 * Stable error codes of these packages. Structural codes are thrown from the op that was called; engine codes poison
 * the tensors that depend on the failed work and reject `data()` / `evaluate()`.
 */
export type CoreErrorCode =
  // structural: the caller's mistake, thrown at once
  | 'SHAPE_MISMATCH'
  | 'RANK_MISMATCH'
  | 'DTYPE_MISMATCH'
  | 'INVALID_OPTION'
  | 'INVALID_K'
  | 'EMPTY_SEQUENCE'
  | 'MIXED_BACKENDS'
  | 'DISPOSED'
  | 'UNSUPPORTED'
  | 'DOES_NOT_FIT'
  | 'NOT_DIFFERENTIABLE'
  // values, where something reads them: `requireNoNaN`, `requireGraph`, training
  | 'NAN_FOUND'
  | 'INDEX_OUT_OF_RANGE'
  // engine
  | 'OUT_OF_MEMORY'
  | 'DEVICE_LOST'
  | 'ENGINE_FAILURE'
  | 'MISSING_PEER'
  | 'NO_DEVICE'
  // files and models
  | 'FILE_NOT_FOUND'
  | 'FILE_TRUNCATED'
  | 'FILE_CORRUPT'
  | 'UNKNOWN_MODEL_TYPE'
  | 'MISSING_WEIGHT'
  | 'EXTRA_WEIGHT'
  | 'INVALID_CONFIG'
  | 'ABORTED';

/** A code of `CoreErrorCode`, or one that another package defines; those are thrown and never poison. */
export type ErrorCode = CoreErrorCode | (string & Record<never, never>);

export interface ErrorDetails {
  /** What was expected, with the numbers. */
  readonly expected?: string;
  /** What arrived instead. */
  readonly got?: string;
  /** What to do about it. */
  readonly fix?: string;
  readonly cause?: unknown;
}

/** The one error class of the project: a stable `code`, what went wrong, what was expected, what arrived, the fix. */
export class TopKError extends Error {
  override readonly name = 'TopKError';
  // Declared, not defined: Node prints every property of an uncaught error, also those that are undefined.
  declare readonly code: ErrorCode;
  declare readonly expected: string | undefined;
  declare readonly got: string | undefined;
  declare readonly fix: string | undefined;

  constructor(code: ErrorCode, what: string, { cause, ...told }: ErrorDetails = {}) {
    const { expected, got, fix } = told;
    let message = what;
    if (expected !== undefined) message += `: expected ${expected}`;
    if (got !== undefined) message += `, got ${got}`;
    if (fix !== undefined) message += `. ${fix}`;
    super(message, cause === undefined ? undefined : { cause });
    Object.assign(this, { code, ...told });
  }
}

const engineCodes: ReadonlySet<ErrorCode> = new Set([
  'OUT_OF_MEMORY',
  'DEVICE_LOST',
  'ENGINE_FAILURE',
  'NAN_FOUND',
]);

/** True for errors that poison tensors instead of being thrown from an op. */
export function isEngineError(error: unknown): boolean {
  return !(error instanceof TopKError) || engineCodes.has(error.code);
}

/** Wraps whatever an engine threw; keeps a TopKError as it is. */
export function toEngineError(error: unknown, where: string): TopKError {
  if (error instanceof TopKError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const outOfMemory =
    error instanceof RangeError ||
    /out of memory|bad_alloc|allocation failed|failed to allocate/i.test(message);
  return new TopKError(outOfMemory ? 'OUT_OF_MEMORY' : 'ENGINE_FAILURE', `${where}: ${message}`, {
    cause: error,
    ...(outOfMemory && { fix: 'Use a smaller queryChunk or budgetBytes, or a shorter input' }),
  });
}
