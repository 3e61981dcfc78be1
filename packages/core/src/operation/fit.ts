import { TopKError } from '../contract/errors.js';
import type { PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import type { ChunkRange } from './define.js';
import { formatBytes } from './format.js';

/**
 * The largest chunk that fits and keeps its scratch within planning's target, starting from the path's preferred chunk
 * if it has one. Where chunks share much, or each has a cost of its own, smaller ones save little and take most of their
 * time to start: halving goes on only while it saves a quarter. Then what grows with a chunk is more than what all share.
 *
 * @internal
 */
export function largestChunk(
  { least, most, targetBytes }: ChunkRange,
  path: PreparedBytes,
  fits: (chunk: number) => boolean,
): number {
  const preferred = path.preferredChunk;
  let chunk = preferred ?? most;
  // Powers of two below the maximum: few distinct shapes, so that compiled graphs and kernels are reused.
  while (preferred === undefined && chunk > least && path.scratchBytes(chunk) > targetBytes) {
    const smaller = halve(chunk, least);
    // The largest chunk may be the only one, without a rest beside it: the first half says nothing of the next.
    if (2 * smaller === chunk && path.scratchBytes(smaller) >= 0.75 * path.scratchBytes(chunk)) break;
    chunk = smaller;
  }
  // If each chunk has a cost of its own, the smallest chunk does not need the least.
  const gains = (smaller: number): boolean =>
    path.scratchBytes(smaller) < path.scratchBytes(chunk) ||
    (path.largestBytes?.(smaller) ?? 0) < (path.largestBytes?.(chunk) ?? 0);
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
