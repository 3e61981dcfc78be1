import type { Backend } from '@topk-attention/core';

/** The length that sources are padded to on a backend: their own, unless the engine compiles graphs by shape. */
export function paddedLength({ capabilities }: Backend, length: number): number {
  return capabilities.execution === 'lazy' ? sharedLength(length) : length;
}

/**
 * Rounds a length up so that many texts share it, by at most an eighth and by less than 64 tokens: sources of any
 * length need only a few compiled graphs, and long texts get little padding.
 */
export function sharedLength(length: number): number {
  const step = Math.min(64, Math.max(8, 2 ** (Math.ceil(Math.log2(length)) - 4)));
  return Math.ceil(length / step) * step;
}
