import type { Backend } from '../contract/backend.js';
import { dropoutWords } from '../contract/request-facts.js';
import type { Shape } from '../contract/shape.js';
import { randomBits } from '../ops/create.js';
import { cast, le, logicalAnd, logicalNot, lt, mul } from '../ops/elementwise.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * f32 dropout factors, 0 or 1 / (1 - rate), for the slots of the queries from `start` on: keyed by the seed and, as
 * `randomBits` is, by (batch, head, query, slot), so that the backward pass and any chunking repeat them. (One random
 * state for all chunks, as in the published code, would replay the last chunk's mask for every chunk.)
 */
export function dropoutFactors(
  backend: Backend,
  dropout: { readonly rate: number; readonly seed: number },
  shape: Shape,
  start: number,
): Tensor {
  return scope(() => {
    const { threshold, keptScale } = dropoutWords(dropout);
    const isKept = scope(() =>
      notBelow(randomBits(backend, dropout.seed, shape, [0, 0, start, 0]), threshold),
    );
    return mul(cast(isKept, 'f32'), keptScale);
  });
}

/** bits >= threshold as an unsigned comparison, although i32 tensors compare as signed. */
function notBelow(bits: Tensor, threshold: number): Tensor {
  if (threshold < 2 ** 31) return logicalNot(logicalAnd(le(0, bits), lt(bits, threshold)));
  return logicalAnd(lt(bits, 0), le(threshold - 2 ** 32, bits));
}
