import { TopKError } from '@topk-attention/core';
import { withheld } from '@topk-attention/nn';

/** The Hub, or the way to it, failed: nothing is known about the file. */
export function downloadFailed(what: string, got: string, cause?: unknown): TopKError {
  return new TopKError('DOWNLOAD_FAILED', `cannot download ${what}`, {
    expected: 'an answer of the Hub',
    got,
    fix: 'Check the connection and the endpoint, or try again later; localFilesOnly uses what is cached',
    cause,
  });
}

/** A file that is needed and not on this machine. Optional files are done without. */
export function notCached(what: string, where: string, got: string): TopKError {
  return withheld(`${what} is not cached`, {
    code: 'NOT_CACHED',
    expected: `the file in ${where}`,
    got,
    fix: 'Load it once with downloads, or name the right cacheDir',
  });
}

/** The content is not what the Hub lists. */
export function notAsListed(what: string, expected: string, got: string): TopKError {
  return new TopKError('FILE_CORRUPT', `${what} is not what the Hub lists`, {
    expected,
    got,
    fix: 'Load it again; if it stays, the endpoint or a proxy on the way changes files',
  });
}

/** @throws TopKError ABORTED */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new TopKError('ABORTED', 'loading was aborted', { cause: signal.reason });
}

/** Errors of a full or read-only disk by name; others as they are. */
export function storageError(where: string, cause: unknown): unknown {
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
  const name = typeof cause === 'object' && cause !== null && 'name' in cause ? cause.name : undefined;
  if (code === 'ENOSPC' || code === 'EDQUOT' || name === 'QuotaExceededError') {
    return new TopKError('DISK_FULL', `no space left for ${where}`, {
      fix: 'Make room or name another cacheDir; what is there is kept, and loading again goes on from it',
      cause,
    });
  }
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS' || code === 'ENOTDIR') {
    return new TopKError('CACHE_NOT_WRITABLE', `cannot write ${where}`, {
      expected: 'a folder that may be written to',
      got: String(code),
      fix: 'Name another cacheDir, or set HF_HUB_CACHE',
      cause,
    });
  }
  return cause;
}
