import type { DeviceLimits } from '../backend.js';
import { TopKError } from '../errors.js';
import { formatBytes } from './format.js';
import type { PathBytes } from './path-bytes.js';
import type { AttentionRequest } from './request.js';

/**
 * The largest chunk of queries that fits and keeps its scratch near what the limits aim at, or the one that the path
 * prefers.
 *
 * @internal
 */
export function largestChunk(
  request: AttentionRequest,
  limits: DeviceLimits,
  path: PathBytes<AttentionRequest>,
  fits: (chunk: number) => boolean,
): number {
  const most = Math.max(1, Math.min(limits.maxQueryChunk, request.queryLength));
  const least = Math.min(limits.minQueryChunk, most);
  const preferred = path.preferredChunk?.(request);
  let chunk = preferred ?? most;
  // Powers of two below the maximum: few distinct shapes, so that compiled graphs and kernels are reused.
  while (
    preferred === undefined &&
    chunk > least &&
    path.scratchBytes(request, chunk) > limits.targetScratchBytes
  )
    chunk = halve(chunk, least);
  // Where many chunks cost something themselves, the smallest is not the one that needs least.
  const gains = (smaller: number): boolean =>
    path.scratchBytes(request, smaller) < path.scratchBytes(request, chunk);
  while (chunk > 1 && !fits(chunk) && gains(halve(chunk, 1))) chunk = halve(chunk, 1);
  return chunk;
}

function halve(chunk: number, least: number): number {
  return Math.max(least, 2 ** Math.ceil(Math.log2(chunk) - 1));
}

/** @internal */
export function doesNotFit(
  what: string,
  needed: number,
  budget: number,
  largest: number,
  limits: DeviceLimits,
  remedies: readonly string[],
): TopKError {
  const overBuffer = largest > limits.maxBufferBytes;
  return new TopKError('DOES_NOT_FIT', `${what}: the request does not fit`, {
    expected: overBuffer
      ? `no tensor above ${formatBytes(limits.maxBufferBytes)}`
      : `at most ${formatBytes(budget)} beyond the inputs`,
    got: overBuffer ? `one of ${formatBytes(largest)}` : formatBytes(needed),
    fix: `Use ${[...remedies, ...(overBuffer ? [] : ['a larger budgetBytes'])].join(', or ')}`,
  });
}
