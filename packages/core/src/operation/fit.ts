import { TopKError } from '../contract/errors.js';
import type { PreparedBytes } from '../contract/fused.js';
import type { DeviceLimits } from '../contract/limits.js';
import type { ChunkRange } from './define.js';
import { formatBytes } from './format.js';

/**
 * The largest chunk that fits and keeps its scratch within planning's target, starting from the path's preferred chunk
 * if it has one. Where what all chunks share is larger than the target, a chunk may take as much again: smaller ones
 * would save little, and take most of their time to start.
 *
 * @internal
 */
export function largestChunk(
  { least, most, targetBytes }: ChunkRange,
  path: PreparedBytes,
  fits: (chunk: number) => boolean,
): number {
  const { preferredChunk } = path;
  let chunk = preferredChunk ?? most;
  if (preferredChunk === undefined && path.scratchBytes(most) > targetBytes) {
    const { frugal, shared } = frugalChunk(most, path);
    const target = Math.max(targetBytes, 2 * shared);
    // Powers of two below the maximum: few distinct shapes, so that compiled graphs and kernels are reused.
    while (chunk > Math.max(least, frugal) && path.scratchBytes(chunk) > target) chunk = halve(chunk, least);
  }
  // If each chunk has a cost of its own, the smallest chunk does not need the least.
  const gains = (smaller: number): boolean =>
    path.scratchBytes(smaller) < path.scratchBytes(chunk) ||
    (path.largestBytes?.(smaller) ?? 0) < (path.largestBytes?.(chunk) ?? 0);
  while (chunk > 1 && !fits(chunk) && gains(halve(chunk, 1))) chunk = halve(chunk, 1);
  return chunk;
}

/**
 * The chunk that needs least, and what all chunks share: its scratch less what grows with its size. It is not always the
 * smallest one: each chunk may have a cost of its own, and the smaller they are, the more there are.
 */
function frugalChunk(
  most: number,
  path: PreparedBytes,
): { readonly frugal: number; readonly shared: number } {
  let [frugal, bytes, growing] = [most, path.scratchBytes(most), 0];
  for (let chunk = most, ofChunk = bytes; chunk > 1; ) {
    const smaller = halve(chunk, 1);
    const ofSmaller = path.scratchBytes(smaller);
    if (ofSmaller <= bytes) {
      [frugal, bytes] = [smaller, ofSmaller];
      growing = (smaller * (ofChunk - ofSmaller)) / (chunk - smaller);
    }
    [chunk, ofChunk] = [smaller, ofSmaller];
  }
  return { frugal, shared: bytes - growing };
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
