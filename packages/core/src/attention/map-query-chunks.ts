import type { Backend } from '../contract/backend.js';
import { zeros } from '../ops/create.js';
import { concat, writeInto } from '../ops/layout.js';
import { scopeKeeping } from '../tensor/scope-stack.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Runs `body` for each chunk of queries and joins each of its results along axis 2 (the query axis of [B, H, L, ...]).
 * One chunk's tensors are freed before the next begins, and its work is started without waiting.
 */
export function mapQueryChunks(
  backend: Backend,
  length: number,
  chunk: number,
  body: (start: number, size: number) => readonly Tensor[],
): readonly Tensor[] {
  const isInPlace = backend.capabilities.limits.inPlace;
  // Keep the chunks alike: work recorded before the loop must not become part of the first one.
  if (chunk < length) backend.flush();
  const parts: Tensor[][] = [];
  let joined: Tensor[] = [];
  for (let start = 0; start < length; start += chunk) {
    const size = Math.min(chunk, length - start);
    const results = scopeKeeping(
      () => body(start, size),
      (made) => made,
    );
    if (size === length) return results;
    if (!isInPlace) {
      results.forEach((result, at) => {
        parts[at] = [...(parts[at] ?? []), result];
      });
    } else {
      if (start === 0)
        joined = results.map((result) => zeros(backend, withLength(result, length), result.dtype));
      joined = joined.map((into, at) => {
        const part = results[at] as Tensor;
        const written = writeInto(
          into,
          part,
          part.shape.map((_, axis) => (axis === 2 ? start : 0)),
        );
        part.dispose();
        return written;
      });
    }
    backend.flush();
  }
  if (isInPlace) return joined;
  return parts.map((list) => {
    const whole = concat(list, 2);
    for (const part of list) part.dispose();
    return whole;
  });
}

function withLength(part: Tensor, length: number): number[] {
  return part.shape.map((extent, axis) => (axis === 2 ? length : extent));
}
