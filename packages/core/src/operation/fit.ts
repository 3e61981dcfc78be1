import { TopKError } from '../contract/errors.js';
import type { PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import type { ChunkRange } from './define.js';
import { formatBytes } from './format.js';

/**
 * The largest chunk that fits and keeps its scratch within planning's target, starting from the path's preferred chunk
 * if it has one. Where chunks share much, or each has a cost of its own, smaller ones save little and take most of their
 * time to start: a chunk may take twice what the most frugal one does, if halving it would save less than a quarter.
 *
 * @internal
 */
export function largestChunk(
  { least, most, targetBytes }: ChunkRange,
  path: PreparedBytes,
  fits: (chunk: number) => boolean,
): number {
  const preferred = path.preferredChunk;
  const bytesOf = (size: number): number => path.scratchBytes(size);
  let chunk = preferred ?? most;
  if (preferred === undefined && bytesOf(chunk) > targetBytes) {
    let frugal = bytesOf(chunk);
    for (let size = 1; size < chunk; size *= 2) frugal = Math.min(frugal, bytesOf(size));
    // Powers of two below the maximum: few distinct shapes, so that compiled graphs and kernels are reused.
    while (chunk > least && bytesOf(chunk) > targetBytes) {
      const [bytes, smaller] = [bytesOf(chunk), halve(chunk, least)];
      if (bytes <= 2 * frugal && bytesOf(smaller) >= 0.75 * bytes) break;
      chunk = smaller;
    }
  }
  // If each chunk has a cost of its own, the smallest chunk does not need the least.
  const gains = (smaller: number): boolean =>
    bytesOf(smaller) < bytesOf(chunk) ||
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
