import { describeValue, TopKError } from '@topk-attention/core';
import type { Run, Seeds } from './run.js';

/**
 * Seeds that depend only on a number and on the path: a step can be repeated, and adding a layer changes no other
 * layer's dropout. Pass a different number for each training step.
 *
 * @param seed a whole number from 0 to 2^53 - 1
 * @throws TopKError INVALID_OPTION for another seed
 *
 * @example
 * const step = 12;
 * const run = { training: true, seeds: seedsFrom(step) };
 */
export function seedsFrom(seed: number): Seeds {
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw new TopKError('INVALID_OPTION', 'seedsFrom: bad seed', {
      expected: 'a whole number from 0 to 2^53 - 1',
      got: describeValue(seed),
    });
  }
  return (path) => {
    const text = `${seed}:${path}`;
    return hash(text, 0x811c9dc5) * 2 ** 21 + (hash(text, 0x9747b28c) >>> 11);
  };
}

/** The seed of a path. @throws TopKError INVALID_OPTION for a run without seeds. */
export function seedOf({ seeds }: Run, path: string): number {
  if (seeds !== undefined) return seeds(path);
  throw new TopKError('INVALID_OPTION', `${path}: dropout needs seeds`, {
    expected: 'seeds in training',
    got: 'none',
    fix: 'Pass seeds: those that train hands to the loss, or seedsFrom(step). Or a dropout rate of 0',
  });
}

/** A 32-bit hash of a text: FNV-1a, then MurmurHash3's finaliser, because FNV's high bits mix slowly. */
function hash(text: string, start: number): number {
  let bits = start;
  for (let at = 0; at < text.length; at++) bits = Math.imul(bits ^ text.charCodeAt(at), 0x01000193);
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return (bits ^ (bits >>> 16)) >>> 0;
}
